//! Minimises a history that is not linearizable.

use std::collections::HashSet;

use crate::interner::Symbol;
use crate::model::{Effect, Op, State, until};
use crate::search::{Failure, check_from};

/// Leaves out operations until leaving out any one more would make the rest, which begins in one of these states, linearizable.
///
/// A list is left out as a whole, which demands less. A write cannot be, as another operation may depend on it: instead it
/// may take effect any number of times in its time, so that what is left is wrong whatever the writes left out did.
pub fn shortest(states: &[State], ops: Vec<Op>) -> Vec<Op> {
    let Err(Failure::NotLinearizable(failed)) = check_from(states, &ops) else { return ops };
    let mut ops = until(&ops, ops[failed].end);
    ops.sort_by_key(|op| op.start);
    let mut kept = last(states, &ops);
    let (lists, writes): (Vec<usize>, Vec<usize>) =
        (0..ops.len()).filter(|index| kept[*index]).partition(|index| ops[*index].kind.is_read());
    let mut before = ops.len() + 1;
    loop {
        leave_out(states, &ops, &mut kept, &lists);
        leave_out(states, &ops, &mut kept, &writes);
        let now = kept.iter().filter(|kept| **kept).count();
        if now == before {
            break;
        }
        before = now;
    }
    ops.into_iter().zip(kept).filter_map(|(op, kept)| kept.then_some(op)).collect()
}

/// The operations that ended last, as many as it takes: few are searched much faster than all.
fn last(states: &[State], ops: &[Op]) -> Vec<bool> {
    let mut by_end: Vec<_> = (0..ops.len()).collect();
    by_end.sort_by_key(|index| std::cmp::Reverse(ops[*index].end));
    let mut count = 1;
    loop {
        let mut kept = vec![false; ops.len()];
        by_end.iter().take(count).for_each(|index| kept[*index] = true);
        if count >= ops.len() || is_wrong(states, ops, &kept) {
            return kept;
        }
        count *= 2;
    }
}

fn is_wrong(states: &[State], ops: &[Op], kept: &[bool]) -> bool {
    let notices: HashSet<Symbol> =
        ops.iter().zip(kept).filter(|(_, kept)| **kept).flat_map(|(op, _)| op.kind.notices()).collect();
    // What is kept tells all other notices from these, but not from each other: one stands for all, and the states are few.
    let merge = |notice: Symbol| if notices.contains(&notice) { notice } else { Symbol::OTHER };
    let states: HashSet<_> = states.iter().map(|state| state.with_notice(merge)).collect();
    let states: Vec<_> = states.into_iter().collect();
    matches!(check_from(&states, &relaxed(ops, kept, merge)), Err(Failure::NotLinearizable(_)))
}

/// Half of the candidates at a time, then a quarter and so on.
fn leave_out(states: &[State], ops: &[Op], kept: &mut Vec<bool>, candidates: &[usize]) {
    let mut size = candidates.len().div_ceil(2);
    while size > 0 {
        for chunk in candidates.chunks(size) {
            if chunk.iter().all(|index| !kept[*index]) {
                continue;
            }
            let mut fewer = kept.clone();
            for index in chunk {
                fewer[*index] = false;
            }
            if is_wrong(states, ops, &fewer) {
                *kept = fewer;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

/// What is kept; of the rest each write takes effect in its time any number of times.
fn relaxed(ops: &[Op], kept: &[bool], merge: impl Fn(Symbol) -> Symbol) -> Vec<Op> {
    let relax = |(op, kept): (&Op, &bool)| match op.kind {
        _ if *kept => Some(*op),
        kind if kind.is_read() => None,
        kind => Some(Op { effect: Effect::AnyNumber, kind: kind.unanswered().with_notice(&merge), ..*op }),
    };
    ops.iter().zip(kept).filter_map(relax).collect()
}
