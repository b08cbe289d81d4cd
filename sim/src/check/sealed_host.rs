//! A host that is sealed serves nothing and says so, is unsealed by enough of the right shares and by nothing else, and shares that were
//! replaced stay replaced. Judged of hosts that are unsealed by shares, from what their keepers did and what a client of their own was
//! answered at each. Not a promise to customers: what operators count on.
//!
//! A host is certainly sealed from its start on, and from its answer that it is, until as many right shares of one set are on their way to
//! it as are needed. Does not check: that nothing is lost or wrong afterwards (the other checkers do, over the same run), what is left in
//! memory, requests that were under way when it was sealed.

use super::CheckInput;
use crate::{
    history::{Keeping, Micros, What},
    report::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// Judges. Exercised: what a host that was certainly sealed was asked, and how often one was unsealed.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("sealing", "sealed_host");
    let mut sets = Sets::default();
    let mut hosts: BTreeMap<&str, Host> = BTreeMap::new();
    for event in &input.history.events {
        match &event.what {
            What::Up { node } if input.topology.is_host(node) => {
                hosts.entry(node).or_default().starts(event.at)
            }
            What::Down { node, .. } | What::Exited { node, .. } => {
                hosts.entry(node).or_default().since = None
            }
            What::Keepers { node, step } => {
                hosts.entry(node).or_default().judge(&mut verdict, &mut sets, (node, event.at), step);
            }
            _ => {}
        }
    }
    verdict
}

/// Names of sets in the order in which they were first heard of.
#[derive(Default)]
struct Sets(Vec<String>);

impl Sets {
    fn place(&mut self, set: &str) -> usize {
        let known = self.0.iter().position(|name| name == set);
        known.unwrap_or_else(|| {
            self.0.push(set.to_owned());
            self.0.len() - 1
        })
    }
}

#[derive(Default)]
struct Host {
    /// Certainly sealed since then.
    since: Option<Micros>,
    /// Right shares of each set that it may have.
    given: BTreeMap<String, BTreeSet<u8>>,
    needed: u8,
    /// One on its way to it.
    on_its_way: Option<(String, u8)>,
    /// It may have one that is not right.
    wrong: bool,
    /// The newest set that it was known to want.
    newest: usize,
}

impl Host {
    /// A new process has what is on its way at most.
    fn starts(&mut self, at: Micros) {
        self.since = Some(at);
        self.given.clear();
        if let Some((set, share)) = &self.on_its_way {
            self.given.insert(set.clone(), BTreeSet::from([*share]));
        }
    }

    fn has_enough(&self) -> bool {
        self.given.values().any(|shares| shares.len() >= usize::from(self.needed))
    }

    fn is_sealed(&self, at: Micros) -> bool {
        self.since.is_some_and(|since| since <= at) && !self.has_enough()
    }

    fn judge(&mut self, verdict: &mut Verdict, sets: &mut Sets, (node, at): (&str, Micros), step: &Keeping) {
        let ms = at / 1000;
        match step {
            Keeping::Sealing => {}
            Keeping::Sealed => {
                verdict.count("sealed", 1);
                (self.since, self.wrong) = (Some(at), false);
                self.given.clear();
            }
            Keeping::Forgot => {
                self.given.clear();
                self.wrong = false;
            }
            Keeping::Gives { set, needed, share } => {
                self.needed = *needed;
                match share {
                    Some(share) => {
                        self.on_its_way = Some((set.clone(), *share));
                        self.given.entry(set.clone()).or_default().insert(*share);
                    }
                    None => self.wrong = true,
                }
            }
            Keeping::Gave => self.on_its_way = None,
            Keeping::Refused if self.wrong => {
                verdict.count("wrong_shares_refused", 1);
                self.given.clear();
                self.wrong = false;
            }
            Keeping::Refused => {
                verdict.broken(
                    "right-shares-refused",
                    &[],
                    format!("{node} refused right shares at {ms} ms"),
                );
            }
            Keeping::Unsealed => {
                verdict.exercised += 1;
                verdict.count("unsealed", 1);
                if self.is_sealed(at) {
                    let most = self.given.values().map(BTreeSet::len).max().unwrap_or(0);
                    let text = format!(
                        "{node} says at {ms} ms that it is unsealed, with at most {most} right shares since it was sealed, \
                         of {} that are needed",
                        self.needed
                    );
                    verdict.broken("unsealed-by-too-few", &[], text);
                }
                self.since = None;
                self.given.clear();
            }
            Keeping::Rotated { set } | Keeping::Wants { set } => {
                let place = sets.place(set);
                if place < self.newest {
                    let text = format!("{node} wants shares at {ms} ms that were replaced before");
                    verdict.broken("rotated-back", &[], text);
                }
                if place > self.newest {
                    verdict.count("rotated", 1);
                }
                self.newest = self.newest.max(place);
            }
            Keeping::Asked { asked, fine, served } => {
                if !self.is_sealed(*asked) || fine.is_none() && served.is_none() {
                    return;
                }
                verdict.exercised += 1;
                verdict.count("asked_while_sealed", 1);
                if *fine == Some(true) {
                    let text = format!("{node} was sealed, and its health at {ms} ms did not say so");
                    verdict.broken("health-while-sealed", &[], text);
                }
                if *served == Some(true) {
                    let text = format!("{node} was sealed, and answered a client with success at {ms} ms");
                    verdict.broken("served-while-sealed", &[], text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{Build, S, assert_held, kinds},
        history::Stop,
    };

    const HOST: &str = "host-a1";

    struct Story(Build, Micros);

    impl Story {
        fn new() -> Story {
            let mut story = Story(Build::new(), 0);
            story.event(What::Up { node: HOST.into() });
            story
        }

        fn event(&mut self, what: What) -> &mut Story {
            self.1 += S;
            self.0.event(self.1, what);
            self
        }

        fn step(&mut self, step: Keeping) -> &mut Story {
            self.event(What::Keepers { node: HOST.into(), step })
        }

        fn give(&mut self, shares: &[Option<u8>]) -> &mut Story {
            for share in shares {
                self.step(Keeping::Gives { set: "one".into(), needed: 3, share: *share }).step(Keeping::Gave);
            }
            self
        }

        fn asked(&mut self, fine: bool, served: bool) -> &mut Story {
            let asked = self.1;
            self.step(Keeping::Asked { asked, fine: Some(fine), served: Some(served) })
        }

        fn restart(&mut self) -> &mut Story {
            self.event(What::Down { node: HOST.into(), how: Stop::Kill })
                .event(What::Up { node: HOST.into() })
        }

        fn judged(&mut self) -> Verdict {
            check(&self.0.input())
        }
    }

    #[test]
    fn enough_right_shares_unseal_and_nothing_is_served_before() {
        let mut story = Story::new();
        story.asked(false, false).give(&[Some(1), Some(1), Some(4)]).asked(false, false);
        story.give(&[Some(2)]).step(Keeping::Unsealed).asked(true, true);
        story.step(Keeping::Sealing).asked(true, true).step(Keeping::Sealed).asked(false, false);
        let verdict = story.judged();
        assert_held(&verdict);
        assert_eq!((verdict.exercised, verdict.measures["asked_while_sealed_count"]), (4, 3.0));
    }

    #[test]
    fn whoever_serves_or_looks_well_while_sealed_is_found() {
        for (fine, served, kind) in
            [(true, false, "health-while-sealed"), (false, true, "served-while-sealed")]
        {
            assert_eq!(kinds(&Story::new().asked(fine, served).judged()), [kind]);
            let mut story = Story::new();
            story.give(&[Some(1), Some(2), Some(3)]).step(Keeping::Unsealed).step(Keeping::Sealed);
            assert_eq!(kinds(&story.asked(fine, served).judged()), [kind]);
            let mut story = Story::new();
            story.give(&[Some(1), Some(2), Some(3)]).step(Keeping::Unsealed).restart();
            assert_eq!(kinds(&story.asked(fine, served).judged()), [kind], "a start is sealed");
        }
    }

    #[test]
    fn too_few_shares_do_not_unseal() {
        for shares in [&[][..], &[Some(1), Some(2)], &[Some(1), Some(1), Some(1)], &[Some(1), None, Some(2)]]
        {
            let verdict = Story::new().give(shares).step(Keeping::Unsealed).judged();
            assert_eq!(kinds(&verdict), ["unsealed-by-too-few"], "{shares:?}");
        }
        let mut story = Story::new();
        story.give(&[Some(1), Some(2)]).restart().give(&[Some(3)]);
        assert_eq!(
            kinds(&story.step(Keeping::Unsealed).judged()),
            ["unsealed-by-too-few"],
            "those of before"
        );
        let mut story = Story::new();
        story.step(Keeping::Gives { set: "one".into(), needed: 3, share: Some(1) }).restart();
        assert_held(&story.give(&[Some(2), Some(3)]).step(Keeping::Unsealed).judged());
    }

    #[test]
    fn right_shares_are_not_refused_and_wrong_ones_may_be() {
        let verdict = Story::new().give(&[Some(1), None, Some(2)]).step(Keeping::Refused).judged();
        assert_eq!((kinds(&verdict), verdict.measures["wrong_shares_refused_count"]), (vec![], 1.0));
        let verdict = Story::new().give(&[Some(1), Some(2), Some(3)]).step(Keeping::Refused).judged();
        assert_eq!(kinds(&verdict), ["right-shares-refused"]);
    }

    #[test]
    fn shares_that_were_replaced_stay_so() {
        let wants = |set: &str| Keeping::Wants { set: set.into() };
        let mut story = Story::new();
        story.step(wants("one")).step(Keeping::Rotated { set: "two".into() }).restart().step(wants("two"));
        assert_eq!(kinds(&story.judged()), Vec::<&str>::new());
        assert_eq!(kinds(&story.restart().step(wants("one")).judged()), ["rotated-back"]);
    }
}
