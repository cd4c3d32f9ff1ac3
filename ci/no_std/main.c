/* Runs what lib.rs links. */
int roundtrip(void);

int main(void) { return roundtrip(); }
