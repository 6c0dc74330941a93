use super::*;

fn combinations() -> impl Iterator<Item = (StepState, Witness, StepMode, EpochOrder)> {
    StepState::ALL.into_iter().flat_map(|journal| {
        Witness::ALL.into_iter().flat_map(move |witness| {
            ANY_MODE.iter().flat_map(move |mode| ANY_EPOCH.iter().map(move |epoch| (journal, witness, *mode, *epoch)))
        })
    })
}

fn matching(journal: StepState, witness: Witness, mode: StepMode, epoch: EpochOrder) -> Vec<char> {
    TABLE
        .iter()
        .filter(|row| {
            row.journal.contains(&journal)
                && row.witness.contains(&witness)
                && row.mode.contains(&mode)
                && row.epoch.contains(&epoch)
        })
        .map(|row| row.label)
        .collect()
}

#[test]
fn every_combination_has_exactly_one_row() {
    for (journal, witness, mode, epoch) in combinations() {
        let rows = matching(journal, witness, mode, epoch);
        assert_eq!(rows.len(), 1, "{journal:?} {witness:?} {mode:?} {epoch:?}: {rows:?}");
    }
}

#[test]
fn every_letter_is_there_and_in_the_printed_table() {
    let printed = include_str!("../recovery.rs");
    for label in 'A'..='Q' {
        assert!(TABLE.iter().any(|row| row.label == label), "no row {label}");
        assert!(printed.contains(&format!("//!  {label}  ")), "row {label} is missing from the comment");
    }
}

#[test]
fn nothing_in_effect_is_ever_run_again() {
    for (journal, witness, mode, epoch) in combinations() {
        let decision = recover(journal, witness, mode, epoch).decision;
        if matches!(witness, Witness::Same | Witness::Other | Witness::Undoing) {
            assert_ne!(decision, Decision::Run, "{journal:?} {witness:?} {mode:?} {epoch:?}");
        }
        if witness == Witness::None {
            assert!(!matches!(decision, Decision::Adopt | Decision::Keep) || journal == StepState::Undone);
        }
    }
}

#[test]
fn a_row_with_another_content_never_leads_to_an_act() {
    for (journal, _, mode, epoch) in combinations() {
        let decision = recover(journal, Witness::Other, mode, epoch).decision;
        assert!(matches!(decision, Decision::Diverged | Decision::Stuck));
    }
}

#[test]
fn parts_settle() {
    use Evidence::{Done, NotDone, Unknown};
    for (done, total, evidence, verdict) in [
        (0, 1, None, PartsVerdict::Untouched),
        (0, 1, Some(Done), PartsVerdict::Finished),
        (0, 1, Some(NotDone), PartsVerdict::Untouched),
        (0, 3, Some(Done), PartsVerdict::ContinueAt(1)),
        (1, 3, Some(NotDone), PartsVerdict::ContinueAt(1)),
        (2, 3, Some(Done), PartsVerdict::Finished),
        (3, 3, None, PartsVerdict::Finished),
        (1, 3, Some(Unknown), PartsVerdict::Ask(1)),
        (0, 0, None, PartsVerdict::Finished),
    ] {
        assert_eq!(settle_parts(done, total, evidence), verdict, "{done} of {total}, {evidence:?}");
    }
}

#[test]
fn a_journal_newer_than_the_database_means_it_went_back() {
    let standing = |journal: Option<u64>, database| super::standing(true, journal.map(Epoch), Epoch(database));
    assert_eq!(standing(None, 0), Standing::Current);
    assert_eq!(standing(Some(3), 3), Standing::Current);
    assert_eq!(standing(Some(3), 4), Standing::Behind);
    assert_eq!(standing(Some(4), 3), Standing::DatabaseWentBack);
    assert_eq!(super::standing(false, Some(Epoch(1)), Epoch(1)), Standing::OtherDatabase);
}
