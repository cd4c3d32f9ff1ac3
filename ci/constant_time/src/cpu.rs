//! Prints what the ciphers' own detection sees of this CPU.

cpufeatures::new!(aes, "aes");
cpufeatures::new!(vaes, "vaes");
cpufeatures::new!(avx2, "avx2");
cpufeatures::new!(clmul, "avx", "pclmulqdq");

pub fn main() {
    println!("aes={} vaes={} clmul={} avx2={}", aes::get(), vaes::get(), clmul::get(), avx2::get());
}
