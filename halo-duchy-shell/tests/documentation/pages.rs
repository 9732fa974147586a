//! The pages of the repository, and the code in them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
pub struct Page {
    /// Where it is, from the root of the repository.
    pub path: String,
    pub text: String,
}

/// A piece of code in a page.
pub struct Code<'p> {
    pub page: &'p Page,
    /// The number of its first line.
    pub line: usize,
    /// What its fence says it is; `None` for code in a line.
    pub language: Option<&'p str>,
    pub text: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path of every file below a folder of the repository, but for what is built.
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder of the repository") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() && !name.starts_with("target") && name != ".git" => folders.push(path),
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// All pages.
pub fn all() -> Vec<Page> {
    let page = |path: String| Page { text: fs::read_to_string(root().join(&path)).expect("a text"), path };
    files("").into_iter().filter(|path| path.ends_with(".md")).map(page).collect()
}

impl Page {
    /// All code, in fences and in lines.
    pub fn code(&self) -> Vec<Code<'_>> {
        let mut found = Vec::new();
        let mut fence: Option<Code<'_>> = None;
        let mut prose = String::new();
        for (index, line) in self.text.lines().enumerate() {
            let marker = line.trim_start().strip_prefix("```");
            match (&mut fence, marker) {
                (Some(_), Some("")) => found.extend(fence.take()),
                (Some(code), _) => {
                    code.text.push_str(line);
                    code.text.push('\n');
                }
                (None, Some(language)) => {
                    self.spans(index, &prose, &mut found);
                    prose.clear();
                    let line = index + 2;
                    fence = Some(Code { page: self, line, language: Some(language), text: String::new() });
                }
                (None, None) => {
                    prose.push_str(line);
                    prose.push('\n');
                }
            }
        }
        assert!(fence.is_none(), "{}: a fence has no end", self.path);
        self.spans(self.text.lines().count(), &prose, &mut found);
        found
    }

    /// Code between backticks in prose that ends before line `end`; it may go over the end of a line.
    fn spans<'p>(&'p self, end: usize, prose: &str, found: &mut Vec<Code<'p>>) {
        let begin = end + 1 - prose.lines().count();
        let mut line = begin;
        for (index, part) in prose.split('`').enumerate() {
            if index % 2 == 1 {
                let text = part.split_whitespace().collect::<Vec<_>>().join(" ");
                found.push(Code { page: self, line, language: None, text });
            }
            line += part.matches('\n').count();
        }
    }
}

impl Code<'_> {
    /// Where it is, for a message.
    pub fn place(&self) -> String {
        format!("{}:{}", self.page.path, self.line)
    }

    /// Whether it is commands for a shell.
    pub fn is_shell(&self) -> bool {
        matches!(self.language, Some("sh" | "console"))
    }

    /// The simple commands in it, as words: of a shell's block, or of a line that is one.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let prompt = self.language == Some("console");
        let lines =
            self.text.lines().filter_map(|line| if prompt { line.strip_prefix("$ ") } else { Some(line) });
        simple_commands(&lines.map(|line| format!("{line}\n")).collect::<String>())
    }
}

/// Splits what a shell reads into simple commands of words. Not a shell: what these pages have of its language.
pub fn simple_commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word = String::new();
    let mut quote = None;
    // A redirection's file is no word of the command.
    let mut redirected = false;
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        let ends_word = quote.is_none() && (character.is_whitespace() || "|&;()<>".contains(character));
        if ends_word {
            if !word.is_empty() {
                let word = std::mem::take(&mut word);
                let number = "<>".contains(character) && word.chars().all(|digit| digit.is_ascii_digit());
                if !std::mem::take(&mut redirected) && !number {
                    commands.last_mut().expect("there is one").push(word);
                }
            }
            match character {
                '<' | '>' => redirected = true,
                '\n' | '|' | '&' | ';' | '(' | ')' => commands.push(Vec::new()),
                _ => {}
            }
            continue;
        }
        match (quote, character) {
            (None, '\\') if characters.next_if_eq(&'\n').is_some() => {}
            (None, '#') if word.is_empty() => while characters.next_if(|next| *next != '\n').is_some() {},
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => word.push(character),
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

#[test]
fn commands_are_told_apart_as_by_a_shell() {
    let script = "a 'b c' \"d|e\" \\\n  f 2>log & # no\nx=$(g h | i) && j >k; l\n";
    let expected: [&[&str]; 6] = [&["a", "b c", "d|e", "f"], &["x=$"], &["g", "h"], &["i"], &["j"], &["l"]];
    assert_eq!(simple_commands(script), expected);
}
