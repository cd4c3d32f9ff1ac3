//! `envelock status`: what is due by a policy, and why, for an operator, an auditor and CI.

mod policy;
mod row;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::table::Table;
use clap::{Args, ValueEnum};
use envelock::Timestamp;
use envelock::policy::{Action, KeyringPlan};
use policy::NamedPolicy;
use row::Row;

/// Arguments of `envelock status`.
#[derive(Args)]
pub struct Status {
    /// `on-compromise`, `pci-dss-yearly`, `nist-sp-800-57`, `every-90-days`, or an age such as `30d`
    /// [default: `policy` of the keyring in envelock.toml].
    #[arg(long)]
    policy: Option<NamedPolicy>,
    /// How the table is printed.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 5 if this is found.
    #[arg(long, value_enum)]
    fail_on: Option<Condition>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people.
    Table,
    /// RFC 4180, with a line of names.
    Csv,
    /// A JSON object for each version.
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Condition {
    /// A version that is not compliant: something is due or left to an operator, or it is compromised.
    Overdue,
}

impl Status {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        if context.output().is_json() && self.format == Format::Csv {
            return Err(Failure::usage(
                "`--format csv` and `--json` are two formats",
                "pass one of them",
            ));
        }
        let given = context.keyring_name()?;
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => of_config(context, &given)?,
        };
        let keysets = context.keyring()?.lifecycle().keysets()?;
        let now = Timestamp::now();
        let plan = policy.rules.plan_all(&keysets, now);
        let mut rows = Vec::new();
        for (keyset, plan) in keysets.iter().zip(plan.iter()) {
            rows.extend(keyset.versions().iter().map(|record| Row::new(keyset, record, plan, now)));
        }
        self.print(context, &rows)?;
        let overdue = rows.iter().filter(|row| !row.is_compliant).count();
        match self.fail_on {
            Some(Condition::Overdue) if overdue > 0 => {
                let what = format!(
                    "{overdue} of {} versions are not compliant with {}",
                    rows.len(),
                    policy.name
                );
                Err(Failure::new(Exit::Due, what, next_step(&plan, &rows)))
            }
            _ => Ok(()),
        }
    }

    fn print(&self, context: &Context, rows: &[Row]) -> Result<(), Failure> {
        let output = context.output();
        let format = if output.is_json() { Format::Json } else { self.format };
        match format {
            Format::Json => {
                let output = crate::output::Output::new(true);
                rows.iter().try_for_each(|row| output.result(String::new, || row.as_json()))
            }
            Format::Csv => {
                let lines = rows.iter().map(Row::as_csv).collect::<String>();
                output.result(|| format!("{}\r\n{lines}", row::NAMES.join(",")), Default::default)
            }
            Format::Table => {
                let titles = row::NAMES.map(|name| name.replace('_', " ").to_uppercase());
                let mut table = Table::new(&titles.each_ref().map(String::as_str));
                rows.iter().for_each(|row| table.row(row.cells()));
                output.result(|| table.to_string(), Default::default)
            }
        }
    }
}

fn of_config(context: &Context, given: &str) -> Result<NamedPolicy, Failure> {
    let named = context.config()?.keyrings.get(given).and_then(|named| named.policy.clone());
    let next =
        "`--policy pci-dss-yearly`, `nist-sp-800-57`, `every-90-days`, `on-compromise` or `30d`";
    let policy = named.ok_or_else(|| Failure::usage("no policy is named", next))?;
    policy.parse().map_err(|fault: String| Failure::usage(format!("envelock.toml: {fault}"), next))
}

/// Returns the command for the first action that is due.
fn next_step(plan: &KeyringPlan, rows: &[Row]) -> String {
    let due = plan.iter().find_map(|plan| Some((plan.key(), plan.due().first()?.action)));
    match due {
        Some((key, Action::Rotate)) => format!("`envelock key rotate {key}`"),
        Some((key, Action::AddVersion)) => format!("`envelock key add {key}`"),
        Some((key, Action::Promote(version))) => format!("`envelock key promote {key}:{version}`"),
        Some((key, Action::Disable(version))) => format!("`envelock key disable {key}:{version}`"),
        Some((key, Action::ScheduleDestruction(version, _))) => {
            format!("`envelock key destroy {key}:{version}`")
        }
        Some((key, Action::Destroy(version))) => {
            format!("`envelock key destroy {key}:{version} --due`")
        }
        _ => match rows.iter().find_map(Row::compromised) {
            Some(version) => {
                format!("encrypt its messages again, then `envelock key disable {version}`")
            }
            None => "`envelock key show KEY` shows holds and dates".into(),
        },
    }
}
