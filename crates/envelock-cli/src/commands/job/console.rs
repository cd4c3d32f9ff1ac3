//! What a person or a scheduler sees of a job that runs, and how they stop it.

use super::limits;
use crate::failure::Failure;
use crate::output::Output;
use crate::secrets::remove_secrets;
use envelock_ops::drivers::{Control, ControlFile};
use envelock_ops::{Job, Limits, StageReport, Tally};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How often progress is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_secs(1);

/// How long the rate is measured.
const RATE_OVER: Duration = Duration::from_secs(15);

/// Returns the time since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns a flag that the first SIGINT or SIGTERM sets. The second one ends the process.
///
/// # Errors
///
/// The operating system refuses.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        crate::terminal::leave_signal(signal);
        // The order is what makes the second one end the process.
        flag::register_conditional_default(signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|error| Failure::io("signals", &error))?;
    }
    Ok(stop)
}

/// The [`Control`] of a job that a person or a scheduler started.
pub struct Console {
    output: Output,
    stop: Arc<AtomicBool>,
    file: Option<ControlFile>,
    gate: Option<String>,
    gate_time: Option<Duration>,
    releases: bool,
    directory: PathBuf,
    /// The items of the shard, where they were counted.
    total: Option<u64>,
    bar: Option<ProgressBar>,
    samples: VecDeque<(Instant, u64)>,
    printed: Option<Instant>,
    said_stop: bool,
    waits: bool,
    limits: Option<Limits>,
}

impl Console {
    pub fn new(output: Output, stop: Arc<AtomicBool>, file: Option<ControlFile>) -> Self {
        let bar = (!output.is_json() && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{prefix} [{bar:20}] {pos} / {len}  {msg}");
            bar.set_style(
                style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("##-"),
            );
            bar
        });
        Console {
            output,
            stop,
            file,
            gate: None,
            gate_time: None,
            releases: false,
            directory: PathBuf::new(),
            total: None,
            bar,
            samples: VecDeque::new(),
            printed: None,
            said_stop: false,
            waits: false,
            limits: None,
        }
    }

    /// Asks this command after each stage, with the numbers of the stage in its environment.
    pub fn with_gate(
        mut self,
        gate: Option<String>,
        seconds: Option<u64>,
        releases: bool,
        directory: PathBuf,
    ) -> Self {
        self.gate_time = seconds.map(Duration::from_secs);
        (self.gate, self.releases, self.directory) = (gate, releases, directory);
        self
    }

    pub fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }

    /// Returns whether the job was asked to stop.
    pub fn was_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.file.as_ref().is_some_and(ControlFile::wants_stop)
    }

    /// Prints a line above the bar.
    fn say(&self, text: &str, json: impl FnOnce() -> Value) {
        let print = || self.output.progress(|| text.into(), json);
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn rate(&mut self, done: u64) -> f64 {
        let now = Instant::now();
        self.samples.push_back((now, done));
        while self.samples.front().is_some_and(|(at, _)| now - *at > RATE_OVER) {
            self.samples.pop_front();
        }
        let Some((at, before)) = self.samples.front() else { return 0.0 };
        let seconds = (now - *at).as_secs_f64();
        if seconds < 0.2 { 0.0 } else { done.saturating_sub(*before) as f64 / seconds }
    }

    /// Removes the bar at the end.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Returns how many items have an outcome.
pub fn done(tally: Tally) -> u64 {
    let Tally { changed, current, excluded, conflict, gone, failed, .. } = tally;
    changed + current + excluded + conflict + gone + failed
}

/// Returns a number with commas.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a duration as a person reads it.
pub fn readable(time: Duration) -> String {
    match time.as_secs() {
        0 if time.as_millis() == 0 => format!("{} us", time.as_micros()),
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns how long something takes at a rate, for a person.
pub fn at_rate(items: u64, per_second: u64) -> String {
    let seconds = items.checked_div(per_second).unwrap_or(0);
    format!("{} at {}/s", readable(Duration::from_secs(seconds)), grouped(per_second))
}

impl Console {
    /// Returns whether the job was asked to stop, by a signal or by the file of controls as it is now.
    fn wants_stop(&mut self) -> bool {
        if let Some(file) = &mut self.file {
            file.poll(now());
            if let Some(error) = file.error() {
                let text = format!("envelock: {error}; the limits stay as they are");
                self.say(&text, || json!({ "warning": error }));
            }
        }
        self.was_stopped()
    }
}

impl Control for Console {
    fn is_stopped(&mut self) -> bool {
        let is_stopped = self.wants_stop();
        if is_stopped && !self.said_stop {
            self.said_stop = true;
            let text = "stopping: what is under way is finished and recorded; Ctrl-C again ends it at once";
            self.say(text, || json!({ "status": "stopping" }));
        }
        is_stopped
    }

    fn limits(&mut self) -> Option<Limits> {
        let file = self.file.as_mut()?;
        let changed = file.changed()?;
        let (limits, is_paused) = (limits::text(file.controls()), file.controls().paused);
        // Those at the beginning, and the next window, are no news.
        let is_new = self.limits.map_or(is_paused, |before| {
            let window = |it: Limits| Limits { closed_until: 0, closes_at: None, ..it };
            window(before) != window(changed)
        });
        if is_new {
            let text = match is_paused {
                true => "paused: `envelock job resume` goes on".into(),
                false => limits,
            };
            self.say(
                &text,
                || json!({ "status": "limits", "paused": is_paused, "limits": changed }),
            );
        }
        self.limits = Some(changed);
        Some(changed)
    }

    fn gate(&mut self, stage: &StageReport) -> bool {
        self.say(&stage.to_string(), || json!({ "status": "stage", "stage": stage }));
        if let Some(missing) = stage.missing() {
            let number = stage.stage.saturating_add(1);
            let text = format!(
                "stage {number}: {} more items without a failure are needed to prove the limit",
                grouped(missing)
            );
            self.say(&text, || json!({ "status": "too_few", "stage": number, "missing": missing }));
        }
        let goes_on = if std::mem::take(&mut self.releases) {
            true
        } else if !stage.is_clean() {
            false
        } else {
            // Too few items prove nothing and harm nothing: the next stage has more.
            self.gate.clone().is_none_or(|gate| self.ask(&gate, stage))
        };
        goes_on && !self.was_stopped()
    }

    fn progress(&mut self, job: &Job) {
        let tally = job.tally();
        let done = done(tally);
        let rate = self.rate(done);
        let left = self.total.map(|total| total.saturating_sub(done));
        let eta =
            left.filter(|_| rate > 0.0).map(|left| Duration::from_secs_f64(left as f64 / rate));
        let (latency, stages) = (job.latency(), job.definition().stages.len());
        let stage = format!("stage {} of {stages}", job.stage().saturating_add(1));
        if let Some(outage) = job.outage().filter(|_| !self.waits) {
            let text = format!("waiting: the {} is away: {}", outage.back_end, outage.why);
            self.say(&text, || json!({ "status": "waiting", "for": outage.back_end.to_string(), "why": outage.why }));
        }
        self.waits = job.outage().is_some();
        let mut message = format!("{}/s", grouped(rate as u64));
        if let Some(eta) = eta {
            message += &format!("  {} left", readable(eta));
        }
        if latency.p95 > Duration::ZERO {
            let (p95, base) = (readable(latency.p95), readable(latency.baseline));
            message += &format!("  read p95 {p95} (base {base})");
        }
        message += &format!("  failed {}", tally.failed + tally.conflict);
        if job.prepared() > 0 {
            message += &format!("  prepared {}", job.prepared());
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = self.total {
                bar.set_length(total.max(done));
            }
            bar.set_prefix(stage);
            bar.set_position(done);
            bar.set_message(message);
            return;
        }
        let every = if self.output.is_json() { JSON_EVERY } else { LINE_EVERY };
        if self.printed.get_or_insert_with(Instant::now).elapsed() < every {
            return;
        }
        self.printed = Some(Instant::now());
        let of = self.total.map_or(String::new(), |total| format!(" / {}", grouped(total)));
        self.output.progress(
            || format!("{stage}  {}{of}  {message}", grouped(done)),
            || {
                json!({
                    "status": "running",
                    "stage": job.stage().saturating_add(1),
                    "stages": stages,
                    "done": done,
                    "total": self.total,
                    "per_second": rate.round(),
                    "prepared": job.prepared(),
                    "seconds_left": eta.map(|eta| eta.as_secs()),
                    "read_microseconds": {
                        "p50": latency.p50.as_micros() as u64,
                        "p95": latency.p95.as_micros() as u64,
                        "base": latency.baseline.as_micros() as u64,
                    },
                    "tally": tally,
                })
            },
        );
    }
}

impl Console {
    /// Runs the command of a gate. Its output is progress, and its exit code the decision.
    fn ask(&mut self, gate: &str, stage: &StageReport) -> bool {
        let variables = [
            ("ENVELOCK_STAGE", stage.stage.saturating_add(1) as u64),
            ("ENVELOCK_ITEMS", stage.items),
            ("ENVELOCK_FAILURES", stage.failures),
            ("ENVELOCK_NEEDED", stage.needed),
            ("ENVELOCK_AT_MOST_MILLIONTHS", u64::from(stage.at_most_millionths)),
        ];
        let mut command = Command::new("sh");
        command.args(["-c", gate]).stdin(Stdio::null()).stdout(io::stderr());
        // A group of its own, so that what it has started ends with it.
        command.process_group(0);
        if self.output.is_json() {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        remove_secrets(&mut command);
        command.env("ENVELOCK_JOB", &self.directory);
        command.envs(variables.map(|(name, value)| (name, value.to_string())));
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.say(&format!("gate: {error}"), || json!({ "warning": error.to_string() }));
                return false;
            }
        };
        pass_on(self.output, child.stdout.take());
        pass_on(self.output, child.stderr.take());
        let began = Instant::now();
        loop {
            let is_late = self.gate_time.is_some_and(|most| began.elapsed() > most);
            match child.try_wait() {
                Ok(Some(status)) => {
                    let text = format!("gate: {status}");
                    self.say(&text, || json!({ "status": "gate", "exit": status.code() }));
                    return status.success();
                }
                Ok(None) if !is_late && !self.wants_stop() => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => {
                    end_group(&mut child);
                    if is_late {
                        self.say(
                            "gate: no decision in time",
                            || json!({ "status": "gate", "late": true }),
                        );
                    }
                    return false;
                }
            }
        }
    }
}

/// Ends a child and what it has started: first they may clean up.
fn end_group(child: &mut Child) {
    let group = Pid::from_child(child);
    // Each has gone, or goes now.
    let _ = kill_process_group(group, Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Prints each line of a gate as an object.
fn pass_on(output: Output, lines: Option<impl io::Read + Send + 'static>) {
    let Some(lines) = lines else { return };
    // It ends with the gate and what that has started.
    std::thread::spawn(move || {
        for line in io::BufReader::new(lines).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.progress(|| line.clone(), || json!({ "status": "gate", "line": line }));
        }
    });
}
