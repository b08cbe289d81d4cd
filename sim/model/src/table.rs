//! The configurations that must hold and the defects that must be found. Both lists are closed: the command
//! refuses to call an empty or a shortened one a success.

mod configurations;
mod defects;

pub use configurations::CONFIGURATIONS;
pub use defects::DEFECTS;

use crate::bounds::Bounds;
use crate::defect::Defect;
use crate::goal::Goal;
use crate::promise::Promise;

/// A configuration whose whole state space holds.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it lets happen.
    pub about: &'static str,
    /// Bounds of the short run.
    pub short: Bounds,
    /// Bounds of the long run.
    pub long: Bounds,
    /// Moments it must reach.
    pub goals: &'static [Goal],
}

/// A defect, where it is looked for, and what it must break.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Its id in the documents.
    pub id: &'static str,
    /// Its name on the command line.
    pub name: &'static str,
    /// The rule that is off.
    pub rule: &'static str,
    /// What is done instead.
    pub says: &'static str,
    /// The rule that is off, in the model.
    pub defect: Defect,
    /// The promise that must break; only these are looked at.
    pub promises: &'static [Promise],
    /// Where it is looked for.
    pub bounds: Bounds,
}

impl Planted {
    /// Whether it is called so.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.id.eq_ignore_ascii_case(name)
    }
}

// What is shortened by accident does not compile.
const _: () = assert!(CONFIGURATIONS.len() == 14 && DEFECTS.len() == Defect::COUNT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;
    use std::collections::BTreeSet;

    #[test]
    fn every_defect_stands_in_the_table_once() {
        for (place, planted) in DEFECTS.iter().enumerate() {
            assert_eq!(planted.defect as usize, place, "{}", planted.name);
            assert!(!planted.promises.is_empty(), "{}", planted.name);
        }
        let names: BTreeSet<&str> = DEFECTS
            .iter()
            .flat_map(|planted| [planted.id, planted.name])
            .chain(CONFIGURATIONS.iter().map(|configuration| configuration.name))
            .collect();
        assert_eq!(names.len(), 2 * DEFECTS.len() + CONFIGURATIONS.len());
    }

    #[test]
    fn every_defect_is_found_and_is_the_only_reason() {
        for planted in DEFECTS {
            assert!(run::defect(planted, &|_, _| {}).broken.is_some(), "{} is not found", planted.name);
            assert!(run::same_bounds(planted).broken.is_none(), "{} breaks without it", planted.name);
        }
    }

    #[test]
    fn a_goal_that_is_out_of_reach_is_missed() {
        let calm = Configuration { goals: &[Goal::Acknowledged, Goal::Restored], ..CONFIGURATIONS[0] };
        assert_eq!(run::configuration(&calm, false, &|_, _| {}).missed, [Goal::Restored]);
    }

    #[test]
    fn the_document_lists_everything() {
        let document = include_str!("../../../docs/model.md");
        for configuration in CONFIGURATIONS {
            assert!(document.contains(&format!("| `{}` |", configuration.name)), "{}", configuration.name);
        }
        for planted in DEFECTS {
            let row = format!("| {} `{}` |", planted.id, planted.name);
            assert!(document.contains(&row), "{}", planted.name);
        }
    }
}
