//! Minimises a history that is not linearizable.

use crate::model::{Effect, Op, until};
use crate::search::{Failure, check};

/// Leaves out operations until leaving out any one more would make the rest linearizable.
///
/// A list is left out as a whole, which demands less. A write cannot be, as another operation may depend on it: instead it
/// may take effect any number of times in its time, so that what is left is wrong whatever the writes left out did.
pub fn shortest(ops: Vec<Op>) -> Vec<Op> {
    let Err(Failure::NotLinearizable(failed)) = check(&ops) else { return ops };
    let mut ops = until(&ops, ops[failed].end);
    ops.sort_by_key(|op| op.start);
    let mut kept = vec![true; ops.len()];
    let (lists, writes): (Vec<usize>, Vec<usize>) =
        (0..ops.len()).partition(|index| ops[*index].kind.is_list());
    let mut before = ops.len() + 1;
    loop {
        leave_out(&ops, &mut kept, &lists);
        leave_out(&ops, &mut kept, &writes);
        let now = kept.iter().filter(|kept| **kept).count();
        if now == before {
            break;
        }
        before = now;
    }
    ops.into_iter().zip(kept).filter_map(|(op, kept)| kept.then_some(op)).collect()
}

/// Half of the candidates at a time, then a quarter and so on.
fn leave_out(ops: &[Op], kept: &mut Vec<bool>, candidates: &[usize]) {
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
            if matches!(check(&relaxed(ops, &fewer)), Err(Failure::NotLinearizable(_))) {
                *kept = fewer;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

/// What is kept; of the rest each write takes effect in its time any number of times.
fn relaxed(ops: &[Op], kept: &[bool]) -> Vec<Op> {
    let relax = |(op, kept): (&Op, &bool)| match op.kind {
        _ if *kept => Some(*op),
        kind if kind.is_list() => None,
        kind => Some(Op { effect: Effect::AnyNumber, kind: kind.unanswered(), ..*op }),
    };
    ops.iter().zip(kept).filter_map(relax).collect()
}
