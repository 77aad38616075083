//! Reporting lines: who reports to whom, directly or not.
//!
//! In: rows of person and manager. Out: for each manager the reports as one range of positions. Positions are those of a
//! depth-first walk, so that whoever stands below a person stands right behind them, and "is a report of" is two comparisons.
//! Pure: nothing here reads a table.
//!
//! Law: a person's reports are everyone who reaches them by one or more steps to a manager, where only these steps are made:
//! * a manager that is NULL is none; one that is nobody's row (an orphan's) is none;
//! * whoever has rows with different managers has none: nobody learns about a person by an ambiguous line;
//! * whoever stands on a circle (also of one: their own manager) has none; who leads into a circle keeps their manager.
//!
//! Sensitivity: who reports to whom counts as known. Taking one person's row away takes the line of everyone below them away with
//! it, which no noise hides; taking a person out by exclusion or by a row policy does not, as lines are drawn before that.
//! Source: Euler tours, Tarjan and Vishkin 1985.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::person::{ByPerson, Person};

/// What was found that is no tree. Numbers of persons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Irregular {
    /// Their manager has no row.
    pub orphans: usize,
    /// On a circle of two or more.
    pub circles: usize,
    /// Their own manager.
    pub own_managers: usize,
    /// Several rows with different managers.
    pub ambiguous: usize,
    /// Several rows that agree.
    pub repeated: usize,
}

#[derive(Debug, Default)]
pub struct ReportingLines {
    nodes: ByPerson<u32>,
    /// Of each node: its place in the walk, and the place behind the last of its reports.
    first: Vec<u32>,
    end: Vec<u32>,
    irregular: Irregular,
    /// Digests of those who have reports.
    managers: HashMap<String, u32>,
}

/// The manager of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Unknown,
    None,
    Is(u32),
    Ambiguous,
}

impl ReportingLines {
    /// `digest`: how logins are tied to persons without naming them; asked for managers only.
    pub fn new(rows: Vec<(Person<'_>, Option<Person<'_>>)>, digest: impl Fn(Person) -> String) -> Self {
        let mut nodes: ByPerson<u32> = ByPerson::default();
        let mut names: Vec<Person> = Vec::with_capacity(rows.len());
        for (person, _) in &rows {
            if nodes.get(*person).is_none() {
                nodes.insert(*person, names.len() as u32);
                names.push(*person);
            }
        }
        let mut irregular = Irregular::default();
        let managers = managers(&nodes, names.len(), &rows, &mut irregular);
        let managers = without_circles(managers, &mut irregular);
        let (first, end) = walked(&managers);
        let leads = |node: &usize| end.get(*node).zip(first.get(*node)).is_some_and(|(end, first)| end - first > 1);
        let digests = names.iter().enumerate().filter(|(node, _)| leads(node));
        let managers = digests.map(|(node, name)| (digest(*name), node as u32)).collect();
        Self { nodes, first, end, irregular, managers }
    }

    /// The positions of everyone who reports to the person with this digest; empty where nobody does.
    pub fn reports_of(&self, digest: &str) -> Range<u32> {
        match self.managers.get(digest) {
            Some(node) => self.below(*node),
            None => 0..0,
        }
    }

    pub fn position(&self, person: Person) -> Option<u32> {
        self.nodes.get(person).and_then(|node| self.first.get(node as usize).copied())
    }

    pub fn irregular(&self) -> Irregular {
        self.irregular
    }

    fn below(&self, node: u32) -> Range<u32> {
        match (self.first.get(node as usize), self.end.get(node as usize)) {
            (Some(first), Some(end)) => first + 1..*end,
            (None, _) | (_, None) => 0..0,
        }
    }
}

fn managers(
    nodes: &ByPerson<u32>,
    count: usize,
    rows: &[(Person, Option<Person>)],
    irregular: &mut Irregular,
) -> Vec<Option<u32>> {
    let mut found = vec![Manager::Unknown; count];
    let mut orphans = HashSet::new();
    let mut repeated = HashSet::new();
    for (person, manager) in rows {
        let Some(node) = nodes.get(*person) else { continue };
        let named = match manager.map(|manager| nodes.get(manager)) {
            None => Manager::None,
            Some(Some(manager)) => Manager::Is(manager),
            Some(None) => {
                orphans.insert(node);
                Manager::None
            }
        };
        let Some(held) = found.get_mut(node as usize) else { continue };
        if *held != Manager::Unknown {
            repeated.insert(node);
        }
        *held = match *held {
            Manager::Unknown => named,
            known if known == named => known,
            Manager::None | Manager::Is(_) | Manager::Ambiguous => Manager::Ambiguous,
        };
    }
    irregular.orphans = orphans.len();
    irregular.ambiguous = found.iter().filter(|manager| **manager == Manager::Ambiguous).count();
    irregular.repeated = repeated.len() - irregular.ambiguous;
    let only = |manager: Manager| match manager {
        Manager::Is(manager) => Some(manager),
        Manager::Unknown | Manager::None | Manager::Ambiguous => None,
    };
    found.into_iter().map(only).collect()
}

/// Everybody has one manager at most, so following managers either ends or comes to a circle.
fn without_circles(mut managers: Vec<Option<u32>>, irregular: &mut Irregular) -> Vec<Option<u32>> {
    // The walk that came by, from 1.
    let mut seen = vec![0_u32; managers.len()];
    let mut on_circle = Vec::new();
    for start in 0..managers.len() {
        let walk = start as u32 + 1;
        let mut here = Some(start as u32);
        while let Some(node) = here {
            let mark = &mut seen[node as usize];
            if *mark != 0 {
                if *mark == walk {
                    on_circle.push(circle(node, &managers));
                }
                break;
            }
            *mark = walk;
            here = managers[node as usize];
        }
    }
    for circle in on_circle {
        match circle.len() {
            1 => irregular.own_managers += 1,
            several => irregular.circles += several,
        }
        for node in circle {
            managers[node as usize] = None;
        }
    }
    managers
}

fn circle(start: u32, managers: &[Option<u32>]) -> Vec<u32> {
    let mut found = vec![start];
    let mut next = managers[start as usize];
    while let Some(node) = next.filter(|node| *node != start) {
        found.push(node);
        next = managers[node as usize];
    }
    found
}

/// Positions of a forest, roots in the order of their rows.
fn walked(managers: &[Option<u32>]) -> (Vec<u32>, Vec<u32>) {
    let count = managers.len();
    // Reports of each node, one after the other.
    let mut starts = vec![0_usize; count + 1];
    for manager in managers.iter().flatten() {
        starts[*manager as usize + 1] += 1;
    }
    for node in 0..count {
        starts[node + 1] += starts[node];
    }
    let (mut reports, mut filled) = (vec![0_u32; starts[count]], starts.clone());
    for (node, manager) in managers.iter().enumerate() {
        if let Some(manager) = manager {
            let place = &mut filled[*manager as usize];
            reports[*place] = node as u32;
            *place += 1;
        }
    }
    let (mut first, mut end) = (vec![0_u32; count], vec![0_u32; count]);
    let mut position = 0;
    let mut open: Vec<(u32, usize)> = Vec::new();
    for root in (0..count).filter(|node| managers[*node].is_none()) {
        first[root] = position;
        position += 1;
        open.push((root as u32, starts[root]));
        while let Some((node, next)) = open.pop() {
            let node = node as usize;
            if next == starts[node + 1] {
                end[node] = position;
                continue;
            }
            open.push((node as u32, next + 1));
            let report = reports[next];
            first[report as usize] = position;
            position += 1;
            open.push((report, starts[report as usize]));
        }
    }
    (first, end)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn lines(rows: &[(i64, Option<i64>)]) -> ReportingLines {
        let rows = rows.iter().map(|(person, manager)| (Person::Number(*person), manager.map(Person::Number)));
        ReportingLines::new(rows.collect(), |person| person.to_text())
    }

    fn reports(lines: &ReportingLines, manager: i64, persons: &[i64]) -> BTreeSet<i64> {
        let range = lines.reports_of(&manager.to_string());
        let within = |person: &&i64| lines.position(Person::Number(**person)).is_some_and(|at| range.contains(&at));
        persons.iter().filter(within).copied().collect()
    }

    /// As the law says it, step by step.
    fn naive(rows: &[(i64, Option<i64>)], manager: i64) -> BTreeSet<i64> {
        let persons: BTreeSet<i64> = rows.iter().map(|(person, _)| *person).collect();
        let mut named: BTreeMap<i64, BTreeSet<Option<i64>>> = BTreeMap::new();
        for (person, manager) in rows {
            named.entry(*person).or_default().insert(manager.filter(|manager| persons.contains(manager)));
        }
        let one = |person: &i64| {
            let managers = &named[person];
            if managers.len() == 1 { managers.iter().next().copied().flatten() } else { None }
        };
        let circular = |person: &i64| {
            let mut here = one(person);
            for _ in 0..persons.len() {
                if here == Some(*person) {
                    return true;
                }
                here = here.and_then(|next| one(&next));
            }
            false
        };
        let step = |person: &i64| if circular(person) { None } else { one(person) };
        let reaches = |person: &&i64| {
            let mut here = step(person);
            while let Some(next) = here {
                if next == manager {
                    return true;
                }
                here = step(&next);
            }
            false
        };
        persons.iter().filter(reaches).copied().collect()
    }

    proptest! {
        #[test]
        fn a_range_is_the_closure(rows in prop::collection::vec((0..30_i64, prop::option::of(0..33_i64)), 0..60)) {
            let lines = lines(&rows);
            let persons: Vec<i64> = (0..33).collect();
            for manager in 0..33 {
                prop_assert_eq!(reports(&lines, manager, &persons), naive(&rows, manager), "of {} in {:?}", manager, rows);
            }
        }

        #[test]
        fn the_order_of_rows_changes_no_scope(
            rows in prop::collection::vec((0..20_i64, prop::option::of(0..22_i64)), 0..40),
            turn in 0..40_usize,
        ) {
            let mut turned = rows.clone();
            turned.rotate_left(turn.min(rows.len()));
            let (one, other) = (lines(&rows), lines(&turned));
            prop_assert_eq!(one.irregular(), other.irregular());
            let persons: Vec<i64> = (0..22).collect();
            for manager in 0..22 {
                prop_assert_eq!(reports(&one, manager, &persons), reports(&other, manager, &persons));
            }
        }

        /// Scopes nest or are apart: nobody has two lines.
        #[test]
        fn ranges_nest(rows in prop::collection::vec((0..30_i64, prop::option::of(0..30_i64)), 0..60)) {
            let lines = lines(&rows);
            let ranges: Vec<_> = (0..30).map(|m| lines.reports_of(&m.to_string())).filter(|r| !r.is_empty()).collect();
            for a in &ranges {
                for b in &ranges {
                    let apart = a.end <= b.start || b.end <= a.start;
                    let nested = (a.start <= b.start && b.end <= a.end) || (b.start <= a.start && a.end <= b.end);
                    prop_assert!(apart || nested);
                }
            }
        }
    }

    #[test]
    fn what_is_no_tree_ends_somewhere() {
        // 1 leads 2 and 3; 4 and 5 lead each other, 6 reports to 4; 7 is their own manager and leads 8; 9's manager has no row;
        // 10 has two managers and leads 11; 12 has two rows that agree.
        let rows = [
            (1, None),
            (2, Some(1)),
            (3, Some(2)),
            (4, Some(5)),
            (5, Some(4)),
            (6, Some(4)),
            (7, Some(7)),
            (8, Some(7)),
            (9, Some(99)),
            (10, Some(1)),
            (10, Some(2)),
            (11, Some(10)),
            (12, Some(1)),
            (12, Some(1)),
        ];
        let lines = lines(&rows);
        let all: Vec<i64> = (1..=12).collect();
        let of = |manager| reports(&lines, manager, &all);
        assert_eq!(of(1), [2, 3, 12].into());
        assert_eq!(of(2), [3].into());
        assert_eq!(of(4), [6].into());
        assert_eq!(of(5), [].into());
        assert_eq!(of(7), [8].into());
        assert_eq!(of(10), [11].into());
        assert_eq!((of(99), of(1000)), ([].into(), [].into()));
        let found = Irregular { orphans: 1, circles: 2, own_managers: 1, ambiguous: 1, repeated: 1 };
        assert_eq!(lines.irregular(), found);
    }

    /// A line of a hundred thousand, and a million below one: neither recursion nor anything but a range.
    #[test]
    fn depth_and_breadth_do_not_matter() {
        let line: Vec<_> = (0..100_000).map(|person| (person, (person > 0).then_some(person - 1))).collect();
        assert_eq!(lines(&line).reports_of("0").len(), 99_999);
        let star: Vec<_> = (0..1_000_000).map(|person| (person, (person > 0).then_some(0))).collect();
        let star = lines(&star);
        assert_eq!((star.reports_of("0").len(), star.managers.len()), (999_999, 1));
    }
}
