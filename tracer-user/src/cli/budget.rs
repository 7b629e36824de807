//! The argument that bounds what tracing may cost.

use clap::Args;

/// What tracing may cost the target.
#[derive(Clone, Debug, Args)]
pub(crate) struct BudgetArguments {
    /// Keep what tracing costs below this percentage of the CPU time that the target uses for
    /// itself, by watching less where it has to, first clones of wakers, then nested futures, exact
    /// ends of polls, the hottest task types, then everything in short windows; `none` for no limit.
    /// With `--sample` there are no probes, and nothing to bound
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "5",
        env = "ASYNCTRACE_MAX_OVERHEAD",
        hide_env_values = true,
        value_parser = budget
    )]
    max_overhead: Budget,
}

/// A share, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Budget(Option<f64>);

impl BudgetArguments {
    /// The share of the target's own CPU time, 0.05 for five percent; `None` without a limit.
    pub(crate) fn share(&self) -> Option<f64> {
        self.max_overhead.0
    }
}

fn budget(text: &str) -> Result<Budget, String> {
    if text == "none" {
        return Ok(Budget(None));
    }
    let percent = text.strip_suffix('%').unwrap_or(text);
    match percent.parse::<f64>() {
        Ok(percent) if (0.1..=1_000.0).contains(&percent) => Ok(Budget(Some(percent / 100.0))),
        Ok(_) => Err("it must be from 0.1 to 1000 percent, or `none`".to_owned()),
        Err(_) => Err("give a percentage, such as 5 or 0.5, or `none`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_none() {
        assert_eq!(budget("5"), Ok(Budget(Some(0.05))));
        assert_eq!(budget("0.5%"), Ok(Budget(Some(0.005))));
        assert_eq!(budget("none"), Ok(Budget(None)));
        for text in ["", "0", "-5", "inf", "NaN", "5 %", "much", "0.01"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }
}
