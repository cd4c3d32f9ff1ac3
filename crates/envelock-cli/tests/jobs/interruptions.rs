//! Jobs that are killed, stopped, paused and changed while they run.

use crate::bench::{Bench, count, ran, setting, signal};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A generator that repeats itself (splitmix64), for times.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 8) % end
    }
}

/// `ENVELOCK_ITEMS` and `ENVELOCK_KILLS` make it longer.
#[test]
fn kills_lose_no_message_and_no_count() {
    let (items, kills) = (setting("ENVELOCK_ITEMS", 500), setting("ENVELOCK_KILLS", 12));
    for is_sidecar in [false, true] {
        let bench = Bench::with_layout(items, is_sidecar);
        bench.run_to(0, &["key", "rotate", "orders"]);
        let mut random = Random(kills);
        for _ in 0..kills {
            let mut child = bench.start_or_resume("job");
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(5 + random.below(60)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let end = ran(bench.start_or_resume("job").output().unwrap());
        assert_eq!(end.exit, Some(0), "{}{}", end.stdout, end.stderr);
        let report = bench.json(0, &["job", "merge", "job"]);
        assert_eq!((count(&report, "changed"), count(&report, "listed")), (items, items));
        bench.check(2);
        let second = bench.json(0, &["job", "start", bench.source(), "-d", "second"]);
        assert_eq!((count(&second, "changed"), count(&second, "current")), (0, items));
        bench.check(2);
        bench.run_to(0, &["job", "undo", "job"]);
        bench.check(1);
    }
}

/// A slow job.
fn slow_command(bench: &Bench) -> Command {
    bench.command(&[
        "job",
        "start",
        "dir:tree",
        "-d",
        "job",
        "--page",
        "2",
        "--set",
        "items-per-second=2",
        "--set",
        "concurrency=1",
    ])
}

/// A slow job that has changed something.
fn slow(bench: &Bench) -> std::process::Child {
    let child = slow_command(bench).spawn().unwrap();
    bench.wait_for("job", |status| status["running"] == true && count(status, "changed") > 0);
    child
}

#[test]
fn signals_stop_cleanly_and_say_how_to_resume() {
    for name in ["-TERM", "-INT"] {
        let bench = Bench::rotated(40);
        let child = slow(&bench);
        signal(&child, name);
        let end = ran(child.wait_with_output().unwrap());
        assert_eq!(end.exit, Some(130), "{}{}", end.stdout, end.stderr);
        assert!(end.stdout.starts_with("rewrapped "), "{}", end.stdout);
        assert!(end.stderr.contains("stopping: what is under way is finished"), "{}", end.stderr);
        assert!(end.stderr.ends_with("next: `envelock job resume job`\n"), "{}", end.stderr);
        let report = bench.json(0, &["job", "resume", "job", "--set", "items-per-second=none"]);
        assert_eq!((count(&report, "changed"), count(&report, "listed")), (40, 40));
        bench.check(2);
    }
}

/// Returns the writing end of a pipe that has no room, and the end that nobody reads.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[0; 512]).is_ok() {}
    // A byte at a time: what is left of the room is smaller than the last piece.
    while writer.write(&[0]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn second_signal_ends_it_at_once_and_a_resume_loses_nothing() {
    let bench = Bench::rotated(40);
    // It cannot print its result, so it is still there when the second signal comes.
    let (_reader, writer) = full_pipe();
    let mut child = slow_command(&bench).stdout(writer).spawn().unwrap();
    bench.wait_for("job", |status| status["running"] == true && count(status, "changed") > 0);
    signal(&child, "-INT");
    // This line comes after the first signal was taken.
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let stops = |line: &std::io::Result<String>| line.as_ref().unwrap().starts_with("stopping: ");
    assert!(errors.any(|line| stops(&line)));
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), None);
    let report = bench.json(0, &["job", "resume", "job", "--set", "items-per-second=none"]);
    assert_eq!((count(&report, "changed"), count(&report, "listed")), (40, 40));
    bench.check(2);
}

#[test]
fn lifted_limits_are_told() {
    let bench = Bench::rotated(40);
    let child = slow(&bench);
    let lift = ["job", "set", "job", "items-per-second=none", "concurrency=8"];
    assert_eq!(bench.run_to(0, &lift).stdout, "no limits\n");
    let end = ran(child.wait_with_output().unwrap());
    assert_eq!((end.exit, end.stderr.as_str()), (Some(0), "no limits\n"));
}

#[test]
fn second_process_pauses_changes_and_stops_the_first() {
    let bench = Bench::rotated(40);
    let child = slow(&bench);
    assert_eq!(bench.run_to(0, &["job", "pause", "job"]).stdout, "paused\n");
    bench.wait_for("job", |status| status["state"] == "paused");
    let set = bench.run_to(0, &["job", "set", "job", "items-per-second=3", "concurrency=2"]);
    assert_eq!(set.stdout, "items-per-second=3 concurrency=2\n");
    // What nobody can read changes nothing.
    let wrong = bench.run_to(2, &["job", "set", "job", "items-per-second=-3"]);
    assert!(wrong.stderr.contains("invalid digit"), "{}", wrong.stderr);
    assert_eq!(bench.run_to(0, &["job", "resume", "job"]).stdout, "goes on\n");
    let status = bench.wait_for("job", |status| status["state"] == "runs");
    assert_eq!(status["controls"]["limits"]["items_per_second"], 3);
    bench.run_to(75, &["job", "start", "dir:tree", "-d", "job", "--page", "2", "--adopt"]);
    let refused = bench.run_to(6, &["job", "undo", "job"]);
    assert!(refused.stderr.contains("`envelock job stop job`, then"), "{}", refused.stderr);
    assert_eq!(bench.run_to(0, &["job", "stop", "job"]).stdout, "stopped\n");
    let end = ran(child.wait_with_output().unwrap());
    assert_eq!(end.exit, Some(130), "{}{}", end.stdout, end.stderr);
    let set = ["job", "set", "job", "items-per-second=none", "concurrency=8"];
    let text = "no limits; no process works on the job now\n";
    assert_eq!(bench.run_to(0, &set).stdout, text);
    let report = bench.json(0, &["job", "resume", "job"]);
    assert_eq!((count(&report, "changed"), count(&report, "listed")), (40, 40));
}

#[test]
fn job_waits_outside_its_window_and_stops_there() {
    let bench = Bench::rotated(10);
    // It opened and closed an hour ago, or opens in an hour, wherever the hour is.
    let hour =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            / 3600
            % 24;
    let window = format!("window={:02}:00-{:02}:30 UTC", (hour + 2) % 24, (hour + 2) % 24);
    let child = bench.spawn(&["job", "start", "dir:tree", "-d", "job", "--set", &window]);
    bench.wait_for("job", |status| status["running"] == true);
    bench.run_to(0, &["job", "stop", "job"]);
    assert_eq!(ran(child.wait_with_output().unwrap()).exit, Some(130));
    bench.check(1);
    let report = bench.json(0, &["job", "resume", "job", "--set", "window=none"]);
    assert_eq!(count(&report, "changed"), 10);
}

#[test]
fn changes_of_limits_at_once_are_all_done() {
    let bench = Bench::rotated(5);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    for round in 1..=10 {
        let names = ["items-per-second", "bytes-per-second", "budget", "requests-per-second"];
        let set = |name: &&str| bench.spawn(&["job", "set", "job", &format!("{name}={round}")]);
        for child in names.iter().map(set).collect::<Vec<_>>() {
            assert_eq!(ran(child.wait_with_output().unwrap()).exit, Some(0));
        }
        let status = bench.json(0, &["job", "status", "job"]);
        for name in names {
            let limits = &status["controls"]["limits"];
            assert_eq!(limits[name.replace('-', "_")], round, "{name}");
        }
    }
}

#[test]
fn start_of_another_part_ends_no_pause() {
    let bench = Bench::rotated(40);
    let part = ["job", "start", "dir:tree", "-d", "job", "--canary", "none", "--shard"];
    bench.run_to(0, &[&part[..], &["0/2"]].concat());
    bench.run_to(0, &["job", "pause", "job"]);
    let keyring = bench.keyring();
    let first = envelock::KeyVersion::FIRST;
    envelock::Lifecycle::disable(&keyring, first).unwrap();
    let refused = bench.run_to(6, &[&part[..], &["1/2", "--set", "budget=3"]].concat());
    assert!(refused.stderr.contains("items under orders:1 cannot be"), "{}", refused.stderr);
    envelock::Lifecycle::enable(&keyring, first).unwrap();
    let child = bench.spawn(&[&part[..], &["1/2"]].concat());
    let status = bench.wait_for("job", |status| status["state"] == "paused");
    assert_eq!(
        (count(&status, "listed"), &status["controls"]["limits"]["budget"]),
        (0, &().into())
    );
    assert_eq!(bench.run_to(0, &["job", "resume", "job"]).stdout, "goes on\n");
    assert_eq!(ran(child.wait_with_output().unwrap()).exit, Some(0));
    bench.check(2);
}

#[test]
fn start_or_resume_is_the_same_command_each_time() {
    let bench = Bench::rotated(40);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "5", "--or-resume"];
    bench.run_to(4, &[&start[..], &["--set", "budget=10"]].concat());
    std::fs::remove_file(bench.plaintexts.keys().next_back().unwrap()).unwrap();
    let other = [&start[..], &["--attempts", "5"]].concat();
    assert!(bench.run_to(6, &other).stderr.contains("has another job"));
    for _ in 0..2 {
        let summary = bench.json(0, &[&start[..], &["--set", "budget=none"]].concat());
        assert_eq!((count(&summary, "changed"), count(&summary, "listed")), (39, 39));
    }
}
