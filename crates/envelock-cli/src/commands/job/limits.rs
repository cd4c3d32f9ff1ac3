//! Limits as an operator writes them: `items-per-second=500`.

use super::{money, window};
use crate::failure::Failure;
use envelock_ops::Prices;
use envelock_ops::drivers::Controls;
use std::time::Duration;

const NEXT: &str = "write items-per-second=N, bytes-per-second=N, requests-per-second=N, key-calls-per-second=N, concurrency=N, budget=N, spend=AMOUNT, outage-seconds=N or \
                    `window=HH:MM-HH:MM ZONE`; `none` lifts a limit";

/// Changes controls as the settings say, all or none.
///
/// # Errors
///
/// A setting has an unknown name or a wrong value.
pub fn apply(controls: &mut Controls, settings: &[String], now: Duration) -> Result<(), Failure> {
    let mut new = controls.clone();
    for setting in settings {
        one(&mut new, setting, now)
            .map_err(|fault| Failure::usage(format!("{setting:?}: {fault}"), NEXT))?;
    }
    *controls = new;
    Ok(())
}

/// Refuses a limit of money where nothing has a price: it would limit nothing.
///
/// # Errors
///
/// As said.
pub fn check_spend(controls: &Controls, prices: Prices) -> Result<(), Failure> {
    match controls.limits.spend {
        Some(_) if prices == Prices::default() => {
            let what = "spend limits nothing: the job has no prices";
            let next = "start it with `--price write=5`, or with `prices` of its source in envelock.toml; \
                        `spend=none` lifts the limit";
            Err(Failure::usage(what, next))
        }
        _ => Ok(()),
    }
}

fn one(controls: &mut Controls, setting: &str, now: Duration) -> Result<(), String> {
    let (name, value) = setting.split_once('=').ok_or("it is not KEY=VALUE")?;
    let limits = &mut controls.limits;
    match name {
        "items-per-second" => limits.items_per_second = rate(value)?,
        "bytes-per-second" => limits.bytes_per_second = rate(value)?,
        "requests-per-second" => limits.requests_per_second = rate(value)?,
        "key-calls-per-second" => limits.key_calls_per_second = rate(value)?,
        "budget" => limits.budget = number(value)?,
        "spend" if value == "none" => limits.spend = None,
        "spend" => limits.spend = Some(money::sum(value)?),
        "outage-seconds" => limits.outage_seconds = number(value)?,
        "concurrency" => {
            limits.concurrency = rate(value)?.ok_or("concurrency always has a limit")?;
        }
        "window" if value == "none" => {
            controls.window = None;
            (limits.closed_until, limits.closes_at) = (0, None);
        }
        "window" => {
            window::resolve(value, now)?;
            controls.window = Some(value.into());
        }
        _ => return Err(format!("there is no limit {name:?}")),
    }
    Ok(())
}

/// A number that is not zero: with zero a job would wait for ever without a reason.
fn rate<N>(text: &str) -> Result<Option<N>, String>
where
    N: std::str::FromStr<Err: std::fmt::Display> + Default + PartialEq,
{
    match number(text)? {
        Some(rate) if rate == N::default() => {
            Err("0 begins nothing: use `envelock job pause`".into())
        }
        rate => Ok(rate),
    }
}

fn number<N: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Option<N>, String> {
    match text {
        "none" => Ok(None),
        text => text.parse().map(Some).map_err(|error| format!("{text:?}: {error}")),
    }
}

/// Returns the limits that differ from those by default, as text.
pub fn text(controls: &Controls) -> String {
    let settings = describe(controls);
    if settings.is_empty() { "no limits".into() } else { settings.join(" ") }
}

/// Returns the limits that differ from those by default, as settings.
pub fn describe(controls: &Controls) -> Vec<String> {
    let (limits, default) = (controls.limits, Controls::default().limits);
    let mut settings = Vec::new();
    let mut add = |name: &str, value: Option<String>, is_default: bool| {
        if !is_default {
            settings.push(format!("{name}={}", value.unwrap_or_else(|| "none".into())));
        }
    };
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    let items = limits.items_per_second.map(u64::from);
    add("items-per-second", text(items), limits.items_per_second == default.items_per_second);
    let bytes = limits.bytes_per_second;
    add("bytes-per-second", text(bytes), bytes == default.bytes_per_second);
    let requests = limits.requests_per_second;
    add(
        "requests-per-second",
        text(requests.map(u64::from)),
        requests == default.requests_per_second,
    );
    let calls = limits.key_calls_per_second;
    add("key-calls-per-second", text(calls.map(u64::from)), calls == default.key_calls_per_second);
    let concurrency = Some(u64::from(limits.concurrency));
    add("concurrency", text(concurrency), limits.concurrency == default.concurrency);
    add("budget", text(limits.budget), limits.budget == default.budget);
    let spend = limits.spend.map(money::text_of_sum);
    add("spend", spend, limits.spend == default.spend);
    let outage = limits.outage_seconds;
    add("outage-seconds", text(outage), outage == default.outage_seconds);
    add("window", controls.window.clone(), controls.window.is_none());
    settings
}
