//! What the user's configuration says about conversions: `core.autocrlf`, `core.eol`, his filters and his attributes.
//!
//! Invariant: filters come from global and system configuration only; of a source's own configuration the two
//! settings about line ends count, which name no program.

use crate::repo::read_small;
use crate::{ObjectFormat, Repository};
use gix::bstr::{BStr, ByteSlice as _};
use std::path::PathBuf;

/// Changes when what a conversion is changes.
const VERSION: &[u8] = b"weald conversions 1";

/// Words without which attributes convert nothing, whatever else they say.
const WORDS: [&[u8]; 5] = [b"eol", b"ident", b"working-tree-encoding", b"filter", b"crlf"];

/// What decides, beside a tree's own attributes, how its files are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `core.autocrlf`, as it stands.
    pub(crate) autocrlf: Option<Vec<u8>>,
    /// `core.eol`, as it stands.
    pub(crate) eol: Option<Vec<u8>>,
    /// Filters that have something to run, by name, with what that is.
    filters: Vec<(Vec<u8>, Vec<u8>)>,
    /// The user's own attributes, and those of the machine.
    attributes: Vec<u8>,
}

impl Rules {
    /// Those for workspaces of a source, as they are now.
    pub fn of(source: &Repository) -> Self {
        let own = source.line_ends();
        let globals = gix::config::File::from_globals().unwrap_or_default();
        let of = |key: &str| {
            let own = own.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
            own.or_else(|| globals.string(format!("core.{key}").as_str()).map(|value| value.to_vec()))
        };
        let mut rules = Self {
            autocrlf: of("autocrlf"),
            eol: of("eol"),
            filters: filters(&globals),
            attributes: Vec::new(),
        };
        let named = globals.string("core.attributesFile").map(|path| path.to_vec());
        for path in attribute_files(named.as_deref().map(BStr::new)) {
            rules.attributes.extend(read_small(&path).unwrap_or_default());
            rules.attributes.push(b'\n');
        }
        rules
    }

    /// A name for these rules: equal when all of them are.
    pub fn name(&self) -> String {
        let mut parts: Vec<&[u8]> = vec![VERSION];
        let settings = [&self.autocrlf, &self.eol];
        parts.extend(settings.iter().map(|value| value.as_deref().unwrap_or(b"\0none")));
        parts.extend(self.filters.iter().flat_map(|(name, runs)| [name.as_slice(), runs]));
        parts.push(&self.attributes);
        let parts: Vec<Vec<u8>> =
            parts.iter().map(|part| [&part.len().to_le_bytes()[..], part].concat()).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        ObjectFormat::Sha256.hash(&parts).to_string()
    }

    /// Whether any file can come out converted, for a tree with these `.gitattributes`. False is certain, true is not.
    pub fn may_convert(&self, attributes: &[Vec<u8>]) -> bool {
        let has_word = |text: &[u8]| WORDS.iter().any(|word| text.find(word).is_some());
        let crlf = self.writes_crlf();
        (crlf && self.autocrlf.as_deref().is_some_and(is_true))
            || attributes
                .iter()
                .map(Vec::as_slice)
                .chain([self.attributes.as_slice()])
                .any(|text| has_word(text) || (crlf && text.find(b"text").is_some()))
    }

    /// Whether text without a rule of its own gets CRLF (git-config(1), core.autocrlf and core.eol).
    pub(crate) fn writes_crlf(&self) -> bool {
        match self.autocrlf.as_deref() {
            Some(value) if value.eq_ignore_ascii_case(b"input") => false,
            Some(value) if is_true(value) => true,
            _ => self.eol.as_deref().is_some_and(|eol| eol.eq_ignore_ascii_case(b"crlf")),
        }
    }

    /// Whether a filter of this name has something to run.
    pub(crate) fn has_filter(&self, name: &[u8]) -> bool {
        self.filters.iter().any(|(known, _)| known == name)
    }
}

fn is_true(value: &[u8]) -> bool {
    [&b"true"[..], b"yes", b"on", b"1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn filters(globals: &gix::config::File) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for section in globals.sections_by_name("filter").into_iter().flatten() {
        let Some(name) = section.header().subsection_name().map(|name| name.to_vec()) else { continue };
        for key in ["smudge", "process", "required"] {
            if let Some(value) = section.value(key) {
                found.push((name.clone(), [key.as_bytes(), b"=", value.as_slice()].concat()));
            }
        }
    }
    found.sort();
    // `required` alone runs nothing.
    let runs =
        |name: &[u8]| found.iter().any(|(other, value)| other == name && !value.starts_with(b"required="));
    let named: Vec<Vec<u8>> = found.iter().map(|(name, _)| name.clone()).filter(|name| runs(name)).collect();
    found.retain(|(name, _)| named.contains(name));
    found
}

/// Files with attributes outside of any repository (gitattributes(5)).
fn attribute_files(named: Option<&BStr>) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let user = match named.map(|path| path.to_str_lossy().into_owned()) {
        Some(path) => match path.strip_prefix("~/") {
            Some(below) => home.map(|home| home.join(below)),
            None => Some(PathBuf::from(path)),
        },
        None => match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
            Some(dir) => Some(PathBuf::from(dir).join("git/attributes")),
            None => home.map(|home| home.join(".config/git/attributes")),
        },
    };
    let system = std::env::var_os("GIT_ATTR_NOSYSTEM").is_none().then(|| PathBuf::from("/etc/gitattributes"));
    system.into_iter().chain(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(autocrlf: Option<&str>, eol: Option<&str>) -> Rules {
        let value = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        Rules { autocrlf: value(autocrlf), eol: value(eol), ..Rules::default() }
    }

    #[test]
    fn line_ends_are_converted_when_git_would() {
        for (autocrlf, eol, crlf) in [
            (None, None, false),
            (Some("true"), None, true),
            (Some(""), None, false),
            (Some("Input"), Some("crlf"), false),
            (Some("false"), Some("crlf"), true),
            (None, Some("lf"), false),
            (None, Some("native"), false),
            (Some("yes"), Some("lf"), true),
        ] {
            assert_eq!(rules(autocrlf, eol).writes_crlf(), crlf, "{autocrlf:?} {eol:?}");
        }
    }

    #[test]
    fn attributes_that_convert_nothing_are_passed_over() {
        let plain = vec![b"* text=auto\n*.png binary\n*.c diff=cpp export-ignore\n".to_vec()];
        assert!(!rules(None, None).may_convert(&plain));
        assert!(rules(None, Some("crlf")).may_convert(&plain));
        assert!(rules(Some("true"), None).may_convert(&[]));
        for text in
            ["*.bat eol=crlf", "*.c ident", "* filter=lfs", "x working-tree-encoding=UTF-16", "* crlf"]
        {
            assert!(rules(None, None).may_convert(&[text.as_bytes().to_vec()]), "{text}");
        }
    }

    #[test]
    fn other_rules_have_another_name() {
        let named = [
            rules(None, None),
            rules(Some(""), None),
            rules(None, Some("")),
            rules(Some("a"), Some("b")),
            Rules { filters: vec![(b"x".to_vec(), b"smudge=y".to_vec())], ..rules(None, None) },
            Rules { filters: vec![(b"xs".to_vec(), b"mudge=y".to_vec())], ..rules(None, None) },
            Rules { attributes: b"*".to_vec(), ..rules(None, None) },
        ]
        .map(|rules| rules.name());
        let mut unique = named.to_vec();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), named.len());
    }
}
