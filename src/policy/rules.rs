//! What each class lets whom do: the one table (requirements R3, W1, W9, W17). README.md holds the same, and a test says so.
//!
//! In: a class. Out: its rules. The rewrite and the grants of access ask here; the verifier does not, as it shares no logic with them.

use super::Class;

/// Who may read a column, for what else is allowed with it. A column without a class is read by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Whoever holds a grant on it.
    Granted,
    /// The same, in a session whose live purpose names it; the floor is then `privacy.sensitive_min_group_size`.
    Purpose,
    /// Metrics that administrators define, through aggregates only.
    Metric,
    Nobody,
}

/// What comparing it with something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparing {
    /// Refused; it is joined on and counted.
    Refused,
    /// Chooses the group of persons that an answer is about.
    Chooses,
    /// Is a profile: its share of the group is masked.
    Profiles,
}

/// What an analyst is shown of it for one person, under a live grant of access (level `deidentified`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    AsPseudonym,
    WhereShared,
    Perturbed,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub reading: Reading,
    pub comparing: Comparing,
    /// May it be a group of an answer?
    pub groups: bool,
    /// Is it aggregated over persons, within its bounds?
    pub aggregates: bool,
    pub shown: Shown,
    /// May a grant of level `direct` cover it?
    pub direct: bool,
}

impl Class {
    pub const ALL: [Self; 7] =
        [Self::Identifier, Self::Attribute, Self::Measure, Self::Sensitive, Self::Hidden, Self::Content, Self::Public];

    pub fn rules(self) -> Rules {
        use {Comparing as C, Reading as R, Shown as S};
        let rules = |reading, comparing, groups, aggregates, shown, direct| Rules {
            reading,
            comparing,
            groups,
            aggregates,
            shown,
            direct,
        };
        match self {
            //                              reading      comparing     groups aggregates shown         direct
            Self::Identifier => rules(R::Granted, C::Refused, false, false, S::AsPseudonym, true),
            Self::Attribute => rules(R::Granted, C::Chooses, true, true, S::WhereShared, true),
            Self::Measure => rules(R::Granted, C::Profiles, true, true, S::Perturbed, true),
            Self::Sensitive => rules(R::Purpose, C::Profiles, false, true, S::Never, true),
            Self::Hidden => rules(R::Metric, C::Profiles, false, true, S::Never, false),
            Self::Content => rules(R::Nobody, C::Refused, false, false, S::Never, false),
            Self::Public => rules(R::Granted, C::Chooses, true, true, S::WhereShared, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the table in README.md.
    fn line(class: Class) -> String {
        let rules = class.rules();
        let reading = match rules.reading {
            Reading::Granted => "with a grant",
            Reading::Purpose => "with a grant, under a live purpose that names it; with a higher floor",
            Reading::Metric => "by metrics of administrators",
            Reading::Nobody => "by nobody",
        };
        let comparing = match rules.comparing {
            Comparing::Refused => "refused",
            Comparing::Chooses => "chooses the group",
            Comparing::Profiles => "is a profile, masked",
        };
        let shown = match rules.shown {
            Shown::AsPseudonym => "as a pseudonym",
            Shown::WhereShared => "where enough share it",
            Shown::Perturbed => "perturbed",
            Shown::Never => "never",
        };
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        format!(
            "| `{}` | {reading} | {comparing} | {} | {} | {shown} | {} |",
            class.name(),
            yes(rules.groups),
            yes(rules.aggregates),
            yes(rules.direct)
        )
    }

    #[test]
    fn the_documentation_holds_the_same_table() {
        let readme = include_str!("../../README.md");
        for class in Class::ALL {
            let line = line(class);
            assert!(readme.lines().any(|held| held == line), "README.md lacks the line\n{line}");
        }
    }

    #[test]
    fn every_class_is_in_the_table_once() {
        for class in Class::ALL {
            assert_eq!(Class::ALL.iter().filter(|other| **other == class).count(), 1);
            assert_eq!(Class::parse(class.name()).ok(), Some(class));
        }
    }
}
