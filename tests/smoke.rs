use envelock::*;
use std::time::Instant;
#[test]
fn smoke() {
    for suite in Suite::ALL {
        let ring = MemoryKeyring::create("orders").unwrap();
        let env = Envelope::new(&ring).with_suite(suite);
        for n in [0usize, 1, 16383, 16384, 16385, 49152, 1 << 20] {
            let pt = vec![7u8; n];
            let mut m = env.encrypt(&pt, Aad::new(b"x")).unwrap();
            assert_eq!(env.decrypt(&m, Aad::new(b"x")).unwrap(), pt);
            assert!(env.decrypt(&m, Aad::new(b"y")).is_err());
            let mut b = vec![0; env.message_len(n).unwrap()];
            b[env.plaintext_range(n).unwrap()].copy_from_slice(&pt);
            env.encrypt_in_place(&mut b, Aad::none()).unwrap();
            assert_eq!(env.decrypt_in_place(&mut b, Aad::none()).unwrap(), pt);
            let v2 = ring.rotate().unwrap();
            assert!(env.needs_rewrap(&m).unwrap());
            assert!(env.rewrap_in_place(&mut m, RewrapOptions::new()).unwrap());
            assert!(!env.needs_rewrap(&m).unwrap());
            assert_eq!(inspect(&m).unwrap().slots().next().unwrap().label.version, v2);
            assert_eq!(env.decrypt(&m, Aad::new(b"x")).unwrap(), pt);
        }
    }
}
#[test]
fn time() {
    let ring = MemoryKeyring::create("ordersxx").unwrap();
    let env = Envelope::new(&ring);
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::from_seed([1; 32]);
    use envelock::rand_core;
    let n = 20000;
    let m = env.encrypt(&[1; 64], Aad::new(b"x")).unwrap();
    println!("len {}", m.len() - 64);
    let t = Instant::now();
    for _ in 0..n {
        env.encrypt(&[1; 64], Aad::new(b"x")).unwrap();
    }
    println!("enc64 {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        env.with_rng(&mut rng).encrypt(&[1; 64], Aad::new(b"x")).unwrap();
    }
    println!("enc64 rng {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        env.decrypt(&m, Aad::new(b"x")).unwrap();
    }
    println!("dec64 {:?}", t.elapsed() / n);
    ring.rotate().unwrap();
    let t = Instant::now();
    for _ in 0..n {
        let mut m2 = m.clone();
        env.rewrap_in_place(&mut m2, RewrapOptions::new()).unwrap();
    }
    println!("rewrap {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        let mut m2 = m.clone();
        env.with_rng(&mut rng).rewrap_in_place(&mut m2, RewrapOptions::new()).unwrap();
    }
    println!("rewrap rng {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n {
        std::hint::black_box(inspect(&m).unwrap());
    }
    println!("inspect {:?}", t.elapsed() / n);
    let pt = vec![3u8; 1 << 20];
    let mut b = vec![0; env.message_len(pt.len()).unwrap()];
    let t = Instant::now();
    for _ in 0..200 {
        env.encrypt_in_place(&mut b, Aad::none()).unwrap();
    }
    println!("1M in place {:?}", t.elapsed() / 200);
    let t = Instant::now();
    for _ in 0..200 {
        env.encrypt_into(&pt, Aad::none(), &mut b).unwrap();
    }
    println!("1M into {:?}", t.elapsed() / 200);
    let e = danger::chunk_encryptor(Suite::Cobblestone256, &[1; 32], &[0; 24], b"").unwrap();
    let mut p2 = pt.clone();
    let t = Instant::now();
    for _ in 0..200 {
        for (i, c) in p2.chunks_mut(16384).enumerate() {
            std::hint::black_box(e.encrypt_in_place(i as u64, c).unwrap());
        }
    }
    println!("1M raw chunks {:?}", t.elapsed() / 200);
    println!("sizes {}", size_of_val(&e));
}
