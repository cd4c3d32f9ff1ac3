//! Policies by their name.

use envelock::RotationPolicy;
use std::str::FromStr;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// A policy with the name that it was given by.
#[derive(Clone, Debug)]
pub struct NamedPolicy {
    pub name: String,
    pub rules: RotationPolicy,
}

impl FromStr for NamedPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let rules = match name {
            "on-compromise" => RotationPolicy::on_compromise(),
            "pci-dss-yearly" => RotationPolicy::pci_dss_yearly(),
            "nist-sp-800-57" => RotationPolicy::nist_sp_800_57(),
            "every-90-days" => RotationPolicy::every_90_days(),
            age => {
                let days = age.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
                let days = days.filter(|days| *days > 0).ok_or_else(|| {
                    format!("{age:?} is neither a policy nor an age in days, such as 30d")
                })?;
                RotationPolicy::every(Duration::from_secs(u64::from(days) * DAY_SECONDS))
            }
        };
        Ok(NamedPolicy { name: name.into(), rules })
    }
}
