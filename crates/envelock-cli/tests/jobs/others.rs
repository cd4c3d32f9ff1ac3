//! Jobs beside other jobs, writers and operators.

use crate::bench::{Bench, count, ran};
use envelock::{Aad, Envelope, KeyVersion, Lifecycle};
use std::path::PathBuf;

#[test]
fn two_jobs_at_once_change_each_message_once() {
    let bench = Bench::rotated(200);
    let start = |directory: &str| {
        bench.spawn(&["--json", "job", "start", "dir:tree", "-d", directory, "--page", "10"])
    };
    let jobs = [start("one"), start("two")];
    let mut changed = 0;
    for job in jobs {
        let end = ran(job.wait_with_output().unwrap());
        // One that met the other in every attempt lists a conflict.
        assert!(matches!(end.exit, Some(0 | 3)), "{}{}", end.stdout, end.stderr);
        let summary = serde_json::from_str(end.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(count(&summary, "listed"), 200);
        changed += count(&summary, "changed");
    }
    assert_eq!(changed, 200);
    bench.check(2);
}

#[test]
fn job_beside_four_writers_loses_nothing() {
    let bench = Bench::rotated(60);
    let paths: Vec<PathBuf> = bench.plaintexts.keys().cloned().collect();
    let job = bench.spawn(&["job", "start", "dir:tree", "-d", "job", "--page", "5"]);
    let written = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (bench, paths) = (&bench, &paths);
                scope.spawn(move || {
                    let mut written = Vec::new();
                    // Each replaces messages of its own, and adds new ones.
                    for (number, path) in paths.iter().skip(writer).step_by(4).take(6).enumerate() {
                        let input = bench.path(&format!("input-{writer}"));
                        let text = format!("writer {writer} {number}");
                        std::fs::write(&input, &text).unwrap();
                        let path = match number % 3 {
                            2 => bench.path(&format!("tree/new-{writer}-{number}")),
                            _ => path.clone(),
                        };
                        let (input, path) = (input.to_str().unwrap(), path.to_str().unwrap());
                        bench.run_to(0, &["encrypt", input, "-o", path, "--replace"]);
                        written.push((PathBuf::from(path), text.into_bytes()));
                    }
                    written
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let end = ran(job.wait_with_output().unwrap());
    assert!(matches!(end.exit, Some(0 | 3)), "{}{}", end.stdout, end.stderr);
    let second = bench.json(0, &["job", "start", "dir:tree", "-d", "second"]);
    assert_eq!(count(&second, "failed") + count(&second, "conflict"), 0);
    let mut expected = bench.plaintexts.clone();
    expected.extend(written);
    assert_eq!(count(&second, "listed"), expected.len() as u64);
    let envelope = Envelope::new(bench.keyring());
    for (path, plaintext) in expected {
        let message = std::fs::read(&path).unwrap();
        assert!(!envelope.needs_rewrap(&message).unwrap(), "{path:?}");
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), plaintext, "{path:?}");
    }
}

/// The gate of a stage is an operator who acts in the middle of a job.
fn gate(command: &str) -> String {
    format!("{} {command}", env!("CARGO_BIN_EXE_envelock"))
}

#[test]
fn rotation_in_the_middle_is_noticed_and_a_second_job_finishes() {
    let bench = Bench::rotated(60);
    let gate = gate("key rotate orders && sleep 1.1");
    let start = ["job", "start", "dir:tree", "-d", "job", "--canary", "30", "--gate", &gate];
    let end = bench.run_to(3, &[&["--json"], &start[..]].concat());
    let summary = serde_json::from_str(end.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((count(&summary, "changed"), count(&summary, "listed")), (60, 60));
    assert_eq!(summary["summary"]["targets_changed"], true);
    assert!(end.stderr.contains("the primary changed while the job ran"), "{}", end.stderr);
    let second = bench.json(0, &["job", "start", "dir:tree", "-d", "second"]);
    let (changed, current) = (count(&second, "changed"), count(&second, "current"));
    assert!(changed > 0 && current > 0 && changed + current == 60, "{changed} {current}");
    bench.check(3);
}

#[test]
fn rotation_of_a_key_that_is_not_selected() {
    let bench = Bench::rotated(60);
    bench.run_to(0, &["key", "create", "customers"]);
    for (directory, keyring) in [("none", "file:o.keys"), ("other", "file:o.keys?key=customers")] {
        let gate = gate("key rotate orders && sleep 1.1");
        let start = ["-k", keyring, "job", "start", "dir:tree", "-d", directory, "--canary", "30"];
        let end = bench.run_to(3, &[&start[..], &["--gate", &gate]].concat());
        assert!(end.stderr.contains("the primary changed while the job ran"), "{}", end.stderr);
        // All is moved now.
        let second = format!("{directory}-2");
        bench.run_to(0, &["-k", keyring, "job", "start", "dir:tree", "-d", &second]);
        bench.run_to(0, &["key", "rotate", "orders"]);
        let again = bench.run_to(0, &["-k", keyring, "job", "resume", &second]);
        assert!(again.stderr.contains(" is primary now"), "{}", again.stderr);
    }
}

#[test]
fn promoted_back_version_halts_a_job_with_a_target() {
    let bench = Bench::rotated(60);
    let gate = gate("key promote orders:1 && sleep 1.1");
    let start = [
        "job", "start", "dir:tree", "-d", "job", "--canary", "30", "--to", "orders:2", "--gate",
        &gate,
    ];
    let end = bench.run_to(6, &start);
    assert!(end.stderr.contains("orders:2 is not primary any more"), "{}", end.stderr);
    // Without a target, the same job rolls the rotation back.
    let back = bench.json(0, &["job", "start", "dir:tree", "-d", "back"]);
    assert!(count(&back, "changed") > 0 && count(&back, "current") > 0);
    bench.check(1);
    let keyring = bench.keyring();
    keyring.promote(KeyVersion::new(2).unwrap()).unwrap();
    bench.run_to(0, &["job", "resume", "job"]);
}

#[test]
fn gate_decides_and_a_person_can_release_the_stage() {
    let bench = Bench::rotated(60);
    let gate = "test $ENVELOCK_STAGE = 1 && test $ENVELOCK_FAILURES = 0 && test -d $ENVELOCK_JOB && echo no && false";
    let start = ["job", "start", "dir:tree", "-d", "job", "--canary", "30", "--gate", gate];
    let end = bench.run_to(4, &start);
    assert!(end.stderr.contains("gate: exit status: 1"), "{}", end.stderr);
    assert!(end.stderr.contains("--release"), "{}", end.stderr);
    assert!(!end.stdout.contains("no\n"), "the output of a gate is no result");
    bench.run_to(4, &["job", "resume", "job"]);
    let status = bench.json(0, &["job", "status", "job"]);
    assert_eq!(status["state"], "stopped after a stage");
    let summary = bench.json(0, &["job", "resume", "job", "--release"]);
    assert_eq!(count(&summary, "changed"), 60);
    bench.check(2);
}

#[test]
fn release_is_of_the_stage_that_waits_and_of_no_other() {
    let bench = Bench::rotated(60);
    let start = ["job", "start", "dir:tree", "-d", "job", "--canary", "30", "--gate", "false"];
    let start = [&start[..], &["--page", "5", "--set", "budget=5"]].concat();
    bench.run_to(4, &start);
    let resume = ["job", "resume", "job", "--release", "--set", "budget=none"];
    let refused = bench.run_to(6, &resume);
    assert!(refused.stderr.contains("there is nothing to release"), "{}", refused.stderr);
    let limits = &bench.json(0, &["job", "status", "job"])["controls"]["limits"];
    assert_eq!(limits["budget"], 5, "a call that is refused changes no limit");
    bench.run_to(
        4,
        &["job", "resume", "job", "--set", "budget=none", "--set", "items-per-second=5"],
    );
    let child = bench.spawn(&["job", "resume", "job", "--release"]);
    bench.wait_for("job", |status| status["running"] == true);
    let refused = bench.run_to(6, &["job", "resume", "job", "--release"]);
    assert!(refused.stderr.contains("the job still runs"), "{}", refused.stderr);
    bench.run_to(0, &["job", "set", "job", "items-per-second=none"]);
    assert_eq!(ran(child.wait_with_output().unwrap()).exit, Some(0));
    bench.check(2);
}

#[test]
fn gate_gets_no_secret() {
    let bench = Bench::new(0);
    let run = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("ENVELOCK_KEYRING", "file:p.keys?passphrase-env=OF_KEYS");
        command.env("OF_KEYS", "secret").env("ENVELOCK_PIN", "1234");
        let ran = crate::bench::ran(command.output().unwrap());
        assert_eq!(ran.exit, Some(0), "{arguments:?}\n{}{}", ran.stdout, ran.stderr);
        ran
    };
    run(&["key", "create", "orders", "--new-keyring"]);
    std::fs::create_dir(bench.path("some")).unwrap();
    for name in ["some/a", "some/b", "some/c"] {
        run(&["encrypt", "p.keys", "-o", name]);
    }
    run(&["key", "rotate", "orders"]);
    let gate = "echo gated && test -z \"$OF_KEYS$ENVELOCK_PASSPHRASE$ENVELOCK_PIN\"";
    let ran = run(&["job", "start", "dir:some", "--canary", "1", "--gate", gate]);
    assert!(ran.stderr.contains("gated"), "{}", ran.stderr);
}

#[test]
fn stop_and_time_end_a_gate_with_what_it_started() {
    let bench = Bench::rotated(60);
    let gate = "touch gate-runs; (sleep 5; touch gate-child) & wait";
    let start = ["job", "start", "dir:tree", "-d", "job", "--canary", "30", "--gate", gate];
    let child = bench.spawn(&start);
    while !bench.path("gate-runs").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bench.run_to(0, &["job", "stop", "job", "--wait", "4"]);
    assert_eq!(ran(child.wait_with_output().unwrap()).exit, Some(130));
    let late = [&start[..4], &["late"], &start[5..], &["--gate-timeout", "1s"]].concat();
    let end = bench.run_to(4, &late);
    assert!(end.stderr.contains("gate: no decision in time"), "{}", end.stderr);
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(!bench.path("gate-child").exists());
}

#[test]
fn messages_under_every_key_of_the_keyring_are_rewrapped() {
    let bench = Bench::new(10);
    bench.run_to(0, &["key", "create", "other"]);
    let input = bench.path("input");
    std::fs::write(&input, "other").unwrap();
    for name in ["a", "b", "c"] {
        let path = bench.path(&format!("tree/{name}"));
        let (input, path) = (input.to_str().unwrap(), path.to_str().unwrap());
        bench.run_to(0, &["encrypt", input, "-o", path, "--keyring", "file:o.keys?key=other"]);
    }
    for (round, selection) in ["file:o.keys", "file:o.keys?key=orders"].into_iter().enumerate() {
        bench.run_to(0, &["key", "rotate", "orders"]);
        bench.run_to(0, &["key", "rotate", "other"]);
        let job = format!("job-{round}");
        let arguments = ["job", "start", "dir:tree", "-d", &job, "--keyring", selection];
        let summary = bench.json(0, &arguments);
        assert_eq!((count(&summary, "changed"), count(&summary, "conflict")), (13, 0));
        let version = u32::try_from(round).unwrap() + 2;
        for name in ["a", "b", "c"] {
            let header = std::fs::read(bench.path(&format!("tree/{name}"))).unwrap();
            let label = envelock::inspect(&header).unwrap().slots().next().unwrap().label;
            assert_eq!((label.name.as_str(), label.version.number()), ("other", version));
        }
    }
}
