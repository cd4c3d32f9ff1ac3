//! `envelock status`: what is due, in three forms, and the exit code for CI.

use crate::key::{change_at, create_key};
use crate::sandbox::{Result, Sandbox, failed};
use envelock::keyset::Change;
use serde_json::json;

/// A key of 400 days, one of 100 days that was rotated 40 days ago, and one of today.
fn sandbox() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    change_at(&sandbox, &[create_key("ancient")], 400)?;
    change_at(&sandbox, &[create_key("old")], 100)?;
    change_at(&sandbox, &[Change::Rotate { key: "old" }], 40)?;
    Ok(sandbox)
}

#[test]
fn csv_has_the_columns_of_an_auditor() -> Result {
    let sandbox = sandbox()?;
    let csv = sandbox.ok("-k file:keys status --policy every-90-days --format csv")?;
    let lines: Vec<Vec<&str>> =
        csv.split_terminator("\r\n").map(|it| it.split(',').collect()).collect();
    let names = "key,version,state,created,last_rotation,age_days,due,reason,compliant";
    assert_eq!(lines[0].join(","), names);
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line.len() == 9), "{csv}");
    let row = |line: usize| {
        (lines[line][0], lines[line][1], lines[line][2], lines[line][5], lines[line][8])
    };
    assert_eq!(row(1), ("ancient", "1", "primary", "400", "false"));
    assert_eq!(row(2), ("old", "1", "enabled", "100", "true"));
    assert_eq!(row(3), ("old", "2", "primary", "40", "true"));
    assert_eq!(row(4), ("orders", "1", "primary", "0", "true"));
    assert!(lines[1][7].contains("was never rotated"), "{csv}");
    assert_eq!(lines[3][7], "rotate");
    assert!(lines[1][6] < lines[1][3].replace("20", "21").as_str());
    Ok(())
}

#[test]
fn overdue_version_fails_on_request() -> Result {
    let sandbox = sandbox()?;
    let status = "-k file:keys status --policy every-90-days --fail-on overdue";
    let output = sandbox.run(status)?;
    let errors = failed(status, &output, 5)?;
    assert!(errors.contains("1 of 4 versions are not compliant with every-90-days"), "{errors}");
    assert!(errors.contains("`envelock -k file:keys key rotate ancient`"), "{errors}");
    assert!(String::from_utf8(output.stdout)?.starts_with("KEY "));
    sandbox.ok("-k file:keys key rotate ancient")?;
    sandbox.ok(status)?;
    sandbox.fails("-k file:keys status --policy 30d --fail-on overdue", 5)?;
    sandbox.ok("-k file:keys status --policy on-compromise --fail-on overdue")?;
    Ok(())
}

#[test]
fn json_has_a_line_for_each_version() -> Result {
    let sandbox = sandbox()?;
    let rows = sandbox.json("-k file:keys status --policy nist-sp-800-57")?;
    assert_eq!(rows.len(), 4);
    assert_eq!((&rows[0]["key"], &rows[0]["age_days"]), (&json!("ancient"), &json!(400)));
    assert!(rows.iter().all(|row| row["compliant"] == true));
    assert_eq!(
        sandbox.ok("-k file:keys status --policy pci-dss-yearly --format json")?.lines().count(),
        4
    );
    Ok(())
}

#[test]
fn action_that_a_hold_prevents_is_not_compliant() -> Result {
    let sandbox = sandbox()?;
    sandbox.ok("-k file:keys key hold ancient --reason audit")?;
    let rows = sandbox.json("-k file:keys status --policy every-90-days")?;
    assert_eq!(rows[0]["compliant"], false);
    assert!(rows[0]["reason"].as_str().is_some_and(|reason| reason.contains("it is on hold")));
    Ok(())
}

#[test]
fn compromised_version_is_compliant_once_it_is_disabled() -> Result {
    let sandbox = sandbox()?;
    let compliant = || -> Result<Vec<bool>> {
        let rows = sandbox.json("-k file:keys status --policy on-compromise")?;
        let of_old = rows.iter().filter(|row| row["key"] == "old");
        Ok(of_old.map(|row| row["compliant"] == true).collect())
    };
    // A pending version comes behind the primary.
    sandbox.ok("-k file:keys key add old")?;
    sandbox.ok("-k file:keys key compromise old:2 --yes")?;
    assert_eq!(compliant()?, [true, false, true]);
    sandbox.ok("-k file:keys key promote old:3")?;
    assert_eq!(compliant()?, [true, false, true]);
    let errors =
        sandbox.fails("-k file:keys status --policy on-compromise --fail-on overdue", 5)?;
    assert!(errors.contains("`envelock -k file:keys key disable old:2`"), "{errors}");
    sandbox.ok("-k file:keys key disable old:2")?;
    assert_eq!(compliant()?, [true, true, true]);
    Ok(())
}

#[test]
fn policy_comes_from_the_configuration() -> Result {
    let sandbox = sandbox()?;
    let errors = sandbox.fails("-k file:keys status", 2)?;
    assert!(errors.contains("no policy is named") && errors.contains("pci-dss-yearly"), "{errors}");
    let named = "[keyrings.main]\nlocator = \"file:keys\"\npolicy = \"every-90-days\"\n";
    sandbox.write_secret("envelock.toml", named)?;
    sandbox.fails("-k main status --fail-on overdue", 5)?;
    Ok(())
}

#[test]
fn scheduled_destruction_has_its_date() -> Result {
    let sandbox = sandbox()?;
    sandbox.ok("-k file:keys key disable old:1")?;
    sandbox.ok("-k file:keys key destroy old:1 --after 7 --yes")?;
    let shown = sandbox.ok("-k file:keys key show old")?;
    let (_, date) = shown.split_once("destroy at:").ok_or("no date")?;
    let date = date.lines().next().unwrap_or_default().trim();
    for policy in ["every-90-days", "on-compromise"] {
        let status = format!("-k file:keys status --policy {policy}");
        let row = &sandbox.json(&status)?[1];
        let found = (&row["key"], &row["version"], &row["due"], &row["reason"], &row["compliant"]);
        let reason = json!("scheduled destruction");
        assert_eq!(found, (&json!("old"), &json!(1), &json!(date), &reason, &json!(true)));
        let csv = sandbox.ok(&format!("{status} --format csv"))?;
        let end = format!(",100,{date},scheduled destruction,true");
        assert!(csv.lines().any(|line| line.trim_end().ends_with(&end)), "{csv}");
        let table = sandbox.ok(&status)?;
        assert!(
            table.lines().any(|line| line.contains(date) && line.contains("scheduled destruction")),
            "{table}"
        );
    }
    Ok(())
}
