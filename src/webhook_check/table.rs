//! The result of a test as text for people.

use std::fmt::Write as _;
use std::time::Duration;

/// The result of one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    /// The response is correct; a short description of it.
    Passed(String),
    /// The response is wrong; the reason.
    Failed(String),
}

/// One request and the result of its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub result: CheckResult,
    /// Time until the response.
    pub took: Duration,
}

/// The checks of one kind of request: signed, with a wrong signature, unsigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The kind of request.
    pub shape: &'static str,
    pub checks: Vec<Check>,
}

impl Row {
    /// Whether each response is correct.
    pub fn is_passed(&self) -> bool {
        let mut checks = self.checks.iter();
        checks.all(|check| matches!(check.result, CheckResult::Passed(_)))
    }
}

const COLUMNS: [&str; 3] = ["signed", "wrong signature", "unsigned"];

/// A table with a row for each kind of request, the problems in full, and the number of failed checks.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let columns = COLUMNS.map(|column| format!("{column:<18}")).concat();
    let _ = writeln!(text, "{:<16}{}", "request", columns.trim_end());
    // The kinds of requests by column and problem, in the order of the first.
    let mut problems: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    let (mut checks, mut failed) = (0, 0);
    for row in rows {
        let mut line = format!("{:<16}", row.shape);
        for (check, column) in row.checks.iter().zip(COLUMNS) {
            checks += 1;
            let word = match &check.result {
                CheckResult::Passed(_) => "ok",
                CheckResult::Failed(problem) => {
                    failed += 1;
                    let key = (column, problem.as_str());
                    match problems.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, shapes)) => shapes.push(row.shape),
                        None => problems.push((key, vec![row.shape])),
                    }
                    "FAILED"
                }
            };
            let cell = format!("{word} {} ms", check.took.as_millis());
            let _ = write!(line, "{cell:<18}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for ((column, problem), shapes) in problems {
        let _ = writeln!(text, "{} ({column}): {problem}", shapes.join(", "));
    }
    let noun = if checks == 1 { "check" } else { "checks" };
    let _ = writeln!(text, "{checks} {noun}, {failed} failed");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_every_check_and_what_is_wrong() {
        let check = |result| Check {
            result,
            took: Duration::from_millis(3),
        };
        let passed = || check(CheckResult::Passed(String::new()));
        let failed = || check(CheckResult::Failed("accepted".to_owned()));
        let rows = [
            Row {
                shape: "connect",
                checks: vec![passed(), passed(), passed()],
            },
            Row {
                shape: "notices",
                checks: vec![passed(), failed()],
            },
            Row {
                shape: "left",
                checks: vec![passed(), failed()],
            },
        ];
        assert!(rows[0].is_passed() && !rows[1].is_passed());
        let expected = "\
request         signed            wrong signature   unsigned
connect         ok 3 ms           ok 3 ms           ok 3 ms
notices         ok 3 ms           FAILED 3 ms
left            ok 3 ms           FAILED 3 ms
notices, left (wrong signature): accepted
7 checks, 2 failed
";
        assert_eq!(render(&rows), expected);
    }
}
