//! What an expression in PromQL asks for and answers with: as much of the language as the dashboard and the alerts use.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of every series, each with its values if they are known.
pub(super) type Known = BTreeMap<String, BTreeMap<String, Option<BTreeSet<String>>>>;

/// The labels of what an expression gives; `None` if it is a number.
type Labels = Option<BTreeSet<String>>;

/// Operators from those that bind least.
const OPERATORS: [&[&str]; 5] =
    [&["or"], &["and", "unless"], &["==", "!=", ">", "<", ">=", "<="], &["+", "-"], &["*", "/"]];

/// What makes one value of many.
const AGGREGATIONS: [&str; 4] = ["group", "max", "min", "sum"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or a word of the language.
    Word(&'a str),
    /// A number, a duration, or a variable of Grafana's (`$name`) in the place of one.
    Number(&'a str),
    /// What quotes enclose.
    Text(&'a str),
    /// What brackets enclose.
    Range(&'a str),
    Symbol(&'a str),
}

struct Reader<'a> {
    known: &'a Known,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// Whether a metric has been named.
    asks: bool,
}

/// The labels of what `expression` gives.
///
/// # Errors
/// If it names a metric, a label of one or a value of that which is not `known`, groups or matches by a label that is not
/// there, or is not understood.
pub(super) fn labels(known: &Known, expression: &str) -> Result<BTreeSet<String>, String> {
    let read = || {
        let mut reader = Reader { known, tokens: tokens(expression)?, at: 0, asks: false };
        let labels = reader.operation(0)?;
        match reader.peek() {
            Some(token) => Err(format!("{token:?} is not expected")),
            None if !reader.asks => Err("no metric is named".to_owned()),
            None => Ok(labels.unwrap_or_default()),
        }
    };
    read().map_err(|fault| format!("{fault}: {expression}"))
}

/// The first word of `text`, which may be empty, and the rest.
pub(super) fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

fn tokens(expression: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let inside = |end: char| rest[1..].split_once(end).ok_or_else(|| format!("no {end} ends {rest}"));
        let (token, after) = match first {
            '"' => {
                let (text, after) = inside('"')?;
                (Token::Text(text), after)
            }
            '[' => {
                let (range, after) = inside(']')?;
                (Token::Range(range), after)
            }
            '$' => {
                let (name, after) = word(&rest[1..]);
                (Token::Number(name), after)
            }
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                (Token::Number(&rest[..end]), &rest[end..])
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let (name, after) = word(rest);
                (Token::Word(name), after)
            }
            _ => {
                let two = ["==", "!=", ">=", "<=", "=~", "!~"].iter().any(|two| rest.starts_with(two));
                let (symbol, after) = rest.split_at(if two { 2 } else { first.len_utf8() });
                (Token::Symbol(symbol), after)
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    if expression.contains('\\') { Err("escapes are not read".to_owned()) } else { Ok(tokens) }
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Token<'a>, String> {
        let token = self.peek().ok_or("something is missing at the end")?;
        self.at += 1;
        Ok(token)
    }

    /// Takes the token if it is the next one.
    fn takes(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), String> {
        match self.next()? {
            Token::Symbol(found) if found == symbol => Ok(()),
            other => Err(format!("{other:?} in place of {symbol}")),
        }
    }

    /// Items in parentheses.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.expect("(")?;
        let mut items = Vec::new();
        if self.takes(Token::Symbol(")")) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.takes(Token::Symbol(",")) {
                self.expect(")")?;
                return Ok(items);
            }
        }
    }

    fn label(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Word(label) => Ok(label.to_owned()),
            other => Err(format!("{other:?} in place of a label")),
        }
    }

    /// Labels behind the word `by` or `on`, if that comes next.
    fn labels_after(&mut self, word: &'static str) -> Result<Labels, String> {
        let comes = self.takes(Token::Word(word));
        comes.then(|| Ok(self.list(Self::label)?.into_iter().collect())).transpose()
    }

    /// Operators of this strength, and all that bind more.
    fn operation(&mut self, strength: usize) -> Result<Labels, String> {
        let Some(operators) = OPERATORS.get(strength) else { return self.operand() };
        let mut left = self.operation(strength + 1)?;
        while let Some(Token::Word(operator) | Token::Symbol(operator)) = self.peek()
            && operators.contains(&operator)
        {
            self.at += 1;
            let on = self.labels_after("on")?;
            let right = self.operation(strength + 1)?;
            left = match (left, right) {
                (Some(left), Some(right)) => Some(joined(operator, left, on, right)?),
                (left, right) => left.or(right),
            };
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Labels, String> {
        let labels = match self.next()? {
            Token::Number(_) => None,
            Token::Symbol("(") => {
                let labels = self.operation(0)?;
                self.expect(")")?;
                labels
            }
            Token::Word(name) if AGGREGATIONS.contains(&name) => Some(self.aggregation()?),
            Token::Word(name) if self.peek() == Some(Token::Symbol("(")) => self.function(name)?,
            Token::Word(name) => Some(self.series(name)?),
            other => return Err(format!("{other:?} in place of a value")),
        };
        if let Some(Token::Range(_)) = self.peek() {
            self.at += 1;
        }
        if self.takes(Token::Word("offset")) {
            self.next()?;
        }
        Ok(labels)
    }

    fn aggregation(&mut self) -> Result<BTreeSet<String>, String> {
        let kept = self.labels_after("by")?.unwrap_or_default();
        let of = self.list(|reader| reader.operation(0))?;
        let [Some(labels)] = &of[..] else { return Err("an aggregation of something else".to_owned()) };
        match kept.difference(labels).next() {
            Some(label) => Err(format!("nothing has the label {label} to be grouped by")),
            None => Ok(kept),
        }
    }

    fn function(&mut self, name: &str) -> Result<Labels, String> {
        let arguments = self.list(|reader| reader.operation(0))?;
        match (name, &arguments[..]) {
            ("increase" | "last_over_time" | "rate", [Some(labels)]) => Ok(Some(labels.clone())),
            ("histogram_quantile", [None, Some(labels)]) if labels.contains("le") => {
                Ok(Some(labels.iter().filter(|label| *label != "le").cloned().collect()))
            }
            ("absent", [Some(_)]) | ("vector", [None]) => Ok(Some(BTreeSet::new())),
            ("time", []) => Ok(None),
            _ => Err(format!("{name} is not known, or not with these arguments")),
        }
    }

    /// A metric, perhaps with conditions on its labels.
    fn series(&mut self, name: &str) -> Result<BTreeSet<String>, String> {
        self.asks = true;
        let labels = self.known.get(name).ok_or_else(|| format!("no metric becomes {name}"))?;
        if self.takes(Token::Symbol("{")) {
            while !self.takes(Token::Symbol("}")) {
                let label = self.label()?;
                let values = labels.get(&label).ok_or_else(|| format!("{name} has no label {label}"))?;
                let (Token::Symbol(operator), Token::Text(text)) = (self.next()?, self.next()?) else {
                    return Err(format!("no condition on {label}"));
                };
                let alternatives = match operator {
                    "=" | "!=" => vec![text],
                    "=~" | "!~" => text.split('|').collect(),
                    _ => return Err(format!("{operator} between {label} and its value")),
                };
                let taken = |one: &str| values.as_ref().is_none_or(|values| is_taken(one, values));
                if let Some(never) = alternatives.into_iter().find(|one| !taken(one)) {
                    return Err(format!("{label} of {name} is never {never}"));
                }
                self.takes(Token::Symbol(","));
            }
        }
        Ok(labels.keys().cloned().collect())
    }
}

/// Whether one of `values` is `text`, in which `[.]` is a dot and `.*` at the end anything. A variable of Grafana's is taken
/// for one of them.
fn is_taken(text: &str, values: &BTreeSet<String>) -> bool {
    let text = text.replace("[.]", ".");
    match text.strip_suffix(".*") {
        Some(beginning) => values.iter().any(|value| value.starts_with(beginning)),
        None => text.starts_with('$') || values.contains(&text),
    }
}

/// The labels of what an operator makes of two vectors, which it matches by the labels `on` or all of them.
fn joined(
    operator: &str,
    left: BTreeSet<String>,
    on: Labels,
    right: BTreeSet<String>,
) -> Result<BTreeSet<String>, String> {
    let set = OPERATORS[..2].concat().contains(&operator);
    match &on {
        Some(on) => {
            if let Some(label) = on.iter().find(|label| !left.contains(*label) || !right.contains(*label)) {
                return Err(format!("not both sides of {operator} have the label {label}"));
            }
        }
        None if operator != "or" && left != right => {
            return Err(format!("what {operator} compares has the labels {left:?} and {right:?}"));
        }
        None => {}
    }
    Ok(match (operator, on) {
        ("or", _) => left.intersection(&right).cloned().collect(),
        (_, Some(on)) if !set => on,
        _ => left,
    })
}
