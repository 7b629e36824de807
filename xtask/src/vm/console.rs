//! What the machine's console says -> results: pure.

use std::collections::VecDeque;

/// Lines of a test's output that are kept to be shown when it fails.
const KEPT: usize = 200;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ran and passed.
    Passed,
    /// It passed without having been able to run; its reason.
    Skipped(String),
    /// It failed; its exit code as the shell tells it.
    Failed(i32),
    /// It did not end in time and was killed.
    TooLong,
}

/// A test that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// `suite::test`.
    pub(crate) name: String,
    /// How.
    pub(crate) verdict: Verdict,
    /// How long it took, in the machine's seconds.
    pub(crate) seconds: u64,
    /// The end of what it said.
    pub(crate) output: Vec<String>,
}

/// Something happened.
#[derive(Debug)]
pub(crate) enum Said {
    /// Nothing of interest.
    Nothing,
    /// The machine is up; its kernel's version.
    Kernel(String),
    /// A test begins.
    Began(String),
    /// A test has ended.
    Ended(Ended),
    /// All have.
    Done,
}

/// Reads the console, line by line.
#[derive(Debug, Default)]
pub(crate) struct Console {
    output: VecDeque<String>,
    skipped: Option<String>,
    ran_none: bool,
}

impl Console {
    /// Takes a line.
    pub(crate) fn line(&mut self, line: &str) -> Said {
        let line = line.trim_end();
        // Output without a line's end may stand before a mark.
        let Some((_, mark)) = line.split_once("@@") else {
            self.keep(line);
            return Said::Nothing;
        };
        let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match word {
            "kernel" => Said::Kernel(rest.to_owned()),
            "begin" => {
                *self = Self::default();
                Said::Began(rest.to_owned())
            }
            "end" => self.end(rest).map_or(Said::Nothing, Said::Ended),
            "done" => Said::Done,
            _ => {
                self.keep(line);
                Said::Nothing
            }
        }
    }

    fn keep(&mut self, line: &str) {
        if let Some((_, reason)) = line.split_once("SKIPPED, ") {
            self.skipped.get_or_insert_with(|| reason.to_owned());
        }
        self.ran_none |= line.starts_with("running 0 tests");
        if self.output.len() == KEPT {
            self.output.pop_front();
        }
        self.output.push_back(line.to_owned());
    }

    fn end(&mut self, rest: &str) -> Option<Ended> {
        let mut words = rest.split(' ');
        let name = words.next()?.to_owned();
        let code: i32 = words.next()?.parse().ok()?;
        let seconds = words.next()?.parse().ok()?;
        let verdict = match code {
            // A name that the binary does not know is a mistake of ours.
            0 if self.ran_none => Verdict::Failed(0),
            0 => self
                .skipped
                .take()
                .map_or(Verdict::Passed, Verdict::Skipped),
            // 128 + SIGKILL.
            137 => Verdict::TooLong,
            code => Verdict::Failed(code),
        };
        Some(Ended {
            name,
            verdict,
            seconds,
            output: self.output.drain(..).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(lines: &[&str]) -> Vec<Ended> {
        let mut console = Console::default();
        let said = lines.iter().map(|line| console.line(line));
        said.filter_map(|said| match said {
            Said::Ended(ended) => Some(ended),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn each_test_has_its_verdict() {
        let ended = ended(&[
            "@@kernel 6.1.0",
            "@@begin a::passes",
            "running 1 test\r",
            "@@end a::passes 0 12",
            "@@begin a::cannot",
            "SKIPPED, this machine cannot attach: no BPF",
            "@@end a::cannot 0 1",
            "@@begin a::fails",
            "thread panicked",
            "test a::fails ... @@end a::fails 101 3\r",
            "@@begin a::hangs",
            "@@end a::hangs 137 900",
            "@@begin a::unknown",
            "running 0 tests",
            "@@end a::unknown 0 0",
        ]);
        let verdicts: Vec<_> = ended.iter().map(|test| test.verdict.clone()).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Passed,
                Verdict::Skipped("this machine cannot attach: no BPF".to_owned()),
                Verdict::Failed(101),
                Verdict::TooLong,
                Verdict::Failed(0),
            ]
        );
        assert_eq!((ended[0].seconds, ended[2].seconds), (12, 3));
        assert_eq!(ended[2].output, ["thread panicked"]);
    }

    #[test]
    fn what_a_test_says_is_bounded() {
        let noise = vec!["noise"; 10 * KEPT];
        let lines = [&["@@begin a::b"], noise.as_slice(), &["@@end a::b 1 1"]].concat();
        assert_eq!(ended(&lines)[0].output.len(), KEPT);
    }
}
