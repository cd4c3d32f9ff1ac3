/* Proves that a token is there and can be logged in to, for tokens/check.sh:
 *
 *     probe COMMAND        with the variables that the set-up scripts print
 *
 * COMMAND is `login`, or `make`: an AES key on the token, or `count`: prints how many secret keys
 * are on it, or `destroy`: one of them, or `wrong`: another PIN must be refused. NSS needs an
 * argument to C_Initialize that the usual tools cannot give. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong;

/* Functions by their place in the list of PKCS#11 2.40. */
enum {
    INITIALIZE = 0, FINALIZE = 1, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, OPEN_SESSION = 12,
    LOGIN = 18, DESTROY_OBJECT = 22, FIND_OBJECTS_INIT = 26, FIND_OBJECTS = 27,
    FIND_OBJECTS_FINAL = 28, GENERATE_KEY = 58
};
struct functions { unsigned char version[2]; ulong (*list[68])(); };
struct attribute { ulong type; const void *value; ulong len; };
struct mechanism { ulong type; void *parameter; ulong len; };
struct token_info { char label[32], rest[480]; };

static struct functions *functions;

static ulong check(const char *what, ulong rv) {
    if (rv != 0) {
        fprintf(stderr, "probe: %s: 0x%lx\n", what, rv);
        exit(1);
    }
    return rv;
}
#define CALL(name, ...) check(#name, functions->list[name](__VA_ARGS__))

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static void initialize(void) {
    const char *reserved = variable("ENVELOCK_P11_RESERVED");
    /* NSS reads one word beyond the structure. */
    struct { void *mutex[4]; ulong flags; const void *reserved, *beyond[2]; } arguments = {
        .flags = 2, .reserved = *reserved ? reserved : NULL};
    const char *module = variable("ENVELOCK_P11_MODULE");
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "probe: %s\n", dlerror());
        exit(1);
    }
    ulong (*get)() = (ulong (*)())dlsym(library, "C_GetFunctionList");
    check("C_GetFunctionList", get(&functions));
    CALL(INITIALIZE, &arguments);
}

/* The one slot whose token has the label. */
static ulong slot(const char *label) {
    ulong slots[64], count = 64, found = 0, place = 0;
    char padded[33];
    snprintf(padded, sizeof padded, "%-32s", label);
    CALL(GET_SLOT_LIST, 1, slots, &count);
    for (ulong i = 0; i < count; i++) {
        struct token_info info;
        memset(&info, 0, sizeof info);
        if (functions->list[GET_TOKEN_INFO](slots[i], &info) == 0 &&
            memcmp(info.label, padded, sizeof info.label) == 0) {
            place = slots[i];
            found++;
        }
    }
    if (found != 1) {
        fprintf(stderr, "probe: %lu of %lu tokens have the label '%s'\n", found, count, label);
        exit(1);
    }
    return place;
}

static void make(ulong session) {
    unsigned char yes = 1, no = 0;
    ulong len = 32, key;
    struct mechanism aes = {0x1080, NULL, 0};
    /* Token, private, sensitive, extractable, encrypt, decrypt, wrap, unwrap, length. */
    struct attribute template[] = {
        {0x1, &yes, 1}, {0x2, &yes, 1}, {0x103, &yes, 1}, {0x162, &no, 1}, {0x104, &yes, 1},
        {0x105, &yes, 1}, {0x106, &no, 1}, {0x107, &no, 1}, {0x161, &len, sizeof len}};
    CALL(GENERATE_KEY, session, &aes, template, (ulong)9, &key);
}

static ulong find(ulong session, ulong *keys, ulong most) {
    ulong class = 4, count = 0;
    struct attribute template = {0, &class, sizeof class};
    CALL(FIND_OBJECTS_INIT, session, &template, (ulong)1);
    CALL(FIND_OBJECTS, session, keys, most, &count);
    CALL(FIND_OBJECTS_FINAL, session);
    return count;
}

int main(int argc, char **argv) {
    const char *command = argc == 2 ? argv[1] : "login", *pin = variable("ENVELOCK_P11_PIN");
    ulong session, keys[64], count;
    initialize();
    CALL(OPEN_SESSION, slot(variable("ENVELOCK_P11_LABEL")), (ulong)6, NULL, NULL, &session);
    if (strcmp(command, "wrong") == 0) {
        ulong rv = functions->list[LOGIN](session, (ulong)1, "87654320", (ulong)8);
        if (rv == 0) fprintf(stderr, "probe: a wrong PIN is accepted\n");
        return rv == 0;
    }
    CALL(LOGIN, session, (ulong)1, pin, (ulong)strlen(pin));
    if (strcmp(command, "make") == 0) make(session);
    count = find(session, keys, 64);
    if (strcmp(command, "destroy") == 0) CALL(DESTROY_OBJECT, session, keys[0]);
    if (strcmp(command, "count") == 0) printf("%lu\n", count);
    CALL(FINALIZE, NULL);
    return 0;
}
