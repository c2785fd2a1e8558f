//! A source as far as the checks need it: its words, without comments and texts, and the paths that they form.

use std::collections::BTreeSet;

/// One file below `src/`.
pub(super) struct Source {
    /// Its path from the root of the project.
    pub(super) name: String,
    pub(super) text: String,
    words: Vec<String>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), words: words(text) }
    }

    /// The module at the top that it belongs to.
    pub(super) fn module(&self) -> &str {
        let path = self.name.strip_prefix("src/").expect("below src");
        path.split('/').next().and_then(|first| first.split('.').next()).expect("a name")
    }

    /// How many modules it stands below the root of the crate.
    fn depth(&self) -> usize {
        let path = self.name.strip_prefix("src/").expect("below src");
        path.split('/').count() - usize::from(path.ends_with("/mod.rs"))
    }

    /// Whether these words follow one another somewhere.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.words.windows(words.len()).any(|found| found == words)
    }

    /// Whether a path begins with this crate.
    pub(super) fn names_crate(&self, name: &str) -> bool {
        let begins = |at: usize| {
            // Not in the middle of a path, and not a field or a variable of that name.
            let within = at > 0 && self.words[at - 1] == "::" && at > 1 && is_name(&self.words[at - 2]);
            self.words[at] == name
                && !within
                && (self.follows(at + 1, "::") || at > 0 && self.words[at - 1] == "use")
        };
        (0..self.words.len()).any(begins)
    }

    /// The modules at the top that its paths lead to: `crate::x`, `crate::{x, y::z}`, and `super::` as often as it
    /// takes to leave the module at the top.
    pub(super) fn modules_named(&self) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        // Of each brace that is open: whether it is a module's.
        let mut open = Vec::new();
        for at in 0..self.words.len() {
            match self.words[at].as_str() {
                "{" => open.push(at >= 2 && self.words[at - 2] == "mod"),
                "}" => {
                    open.pop();
                }
                "crate" if self.follows(at + 1, "::") => self.heads(at + 2, &mut named),
                "super" if at == 0 || self.words[at - 1] != "::" => {
                    let mut end = at;
                    let mut climbed = 0;
                    while self.follows(end, "super") && self.follows(end + 1, "::") {
                        (end, climbed) = (end + 2, climbed + 1);
                    }
                    let depth = self.depth() + open.iter().filter(|module| **module).count();
                    if climbed >= depth {
                        self.heads(end, &mut named);
                    }
                }
                _ => {}
            }
        }
        named
    }

    fn follows(&self, at: usize, word: &str) -> bool {
        self.words.get(at).is_some_and(|found| found == word)
    }

    /// The first word of a path, or the first words of those in braces.
    fn heads(&self, at: usize, named: &mut BTreeSet<String>) {
        if !self.follows(at, "{") {
            named.extend(self.words.get(at).cloned());
            return;
        }
        let (mut depth, mut first) = (0, true);
        for word in &self.words[at..] {
            match word.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => first = true,
                word if depth == 1 && first => {
                    named.insert(word.to_owned());
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphanumeric() || first == '_' || first == '>')
}

/// Names and signs, `::` as one; comments, texts and characters left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            end
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// The length of the text, raw text or character that begins here.
fn literal(rest: &str) -> Option<usize> {
    for prefix in ["b", "c", ""] {
        let Some(after) = rest.strip_prefix(prefix) else { continue };
        if let Some(raw) = after.strip_prefix('r') {
            let marks = raw.len() - raw.trim_start_matches('#').len();
            if raw[marks..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(marks));
                let body = prefix.len() + 1 + marks + 1;
                return Some(body + rest[body..].find(&end)? + end.len());
            }
        }
        if after.starts_with('"') {
            let mut escaped = false;
            for (at, next) in after.char_indices().skip(1) {
                match next {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => return Some(prefix.len() + at + 1),
                    _ => {}
                }
            }
            return Some(rest.len());
        }
    }
    // A character, and not a lifetime: it ends with another quote.
    let after = rest.strip_prefix('\'').or_else(|| rest.strip_prefix("b'"))?;
    let begin = rest.len() - after.len();
    let mut inner = after.char_indices();
    let (_, first) = inner.next()?;
    let end = if first == '\\' { after[2..].find('\'')? + 2 } else { inner.next()?.0 };
    after[end..].starts_with('\'').then_some(begin + end + 1)
}

fn named(name: &str, text: &str) -> Vec<String> {
    Source::new(name, text).modules_named().into_iter().collect()
}

#[test]
fn paths_are_followed_to_the_top() {
    let text = "use crate::{\n feed::{Marks, Point},\n seal,\n};\nfn f() -> crate::rules::Id { super::engine::new() }";
    assert_eq!(named("src/config.rs", text), ["engine", "feed", "rules", "seal"]);
    assert_eq!(named("src/grpc/page.rs", "use super::{Services, status};"), Vec::<String>::new());
    assert_eq!(named("src/grpc/page.rs", "use super::super::engine;"), ["engine"]);
    assert_eq!(named("src/grpc/mod.rs", "use super::engine;"), ["engine"]);
    let inner = "mod tests { use super::*; use super::super::engine; }";
    assert_eq!(named("src/config.rs", inner), ["engine"]);
}

#[test]
fn comments_and_texts_are_no_code() {
    let source = Source::new(
        "src/rules/x.rs",
        "// unsafe\n/* diesel::x */ fn f<'a>(x: &'a str) { let y = \"unsafe \\\" diesel::y\"; let c = '\"'; \
         let r = r#\"unsafe \"quoted\"\"#; let b = b'\\''; tonic::z() }",
    );
    assert!(!source.has(&["unsafe"]) && !source.names_crate("diesel"), "{:?}", source.words);
    assert!(source.names_crate("tonic") && source.has(&["'", "a"]), "{:?}", source.words);
    assert!(
        !Source::new("src/a.rs", "fn f() { let http = a::http::b; Vec<u8>::http::c }").names_crate("http")
    );
    assert!(Source::new("src/a.rs", "type A = Vec<::http::Method>;").names_crate("http"));
}
