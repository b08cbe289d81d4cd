//! Rules switched off, one at a time: what breaks without each. A defect that no longer breaks anything is an
//! error of the model or a rule that is not needed; either must be looked at.

/// A rule switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// P1: a write is acknowledged when the head has it.
    AcknowledgeBeforeTail,
    /// P2: the head shows what is in doubt.
    HeadServesNew,
    /// P3: the head shows the state before what is in doubt.
    HeadServesOld,
    /// P4: a conflict is answered from an entry in doubt.
    ConflictInDoubt,
    /// P5: a timeout is answered "refused".
    TimeoutRefused,
    /// P6: a head that starts takes its whole log for confirmed.
    TrustWholeLog,
    /// P7: the head forwards before it syncs.
    ForwardBeforeSync,
    /// P8: the tail shows and confirms before it syncs.
    ConfirmBeforeSync,
    /// P9: the head compares none and all of what is in doubt, not what lies between.
    AllOrNone,
    /// P10: the third copy follows what the head has not seen confirmed.
    FollowInDoubt,
    /// P11: a database that has not joined vouches.
    VouchUnjoined,
    /// P12: a database that starts serves before it has compared its log.
    ServeUncompared,
    /// P13: a host sends an attempt again and takes the second answer for the first.
    ResendConflict,
    /// P14: a host sends an attempt again, and refuses when that fails.
    ResendRefused,
    /// P15: no tombstone, and a commit id that is in the log already is appended again.
    Forgetful,
    /// P16: bytes of a dead link are taken.
    DeadLink,
    /// P17: the head forwards under a lease, and acknowledges after it.
    ForwardUnderLease,
    /// P18: a head that starts has forgotten its leases, and forwards.
    LeaseForgotten,
    /// Q1: no fence.
    NoFence,
    /// Q2: a database that starts serves at once.
    NoJoin,
    /// Q3: the fence is stated before the epoch is registered.
    FenceBeforeRegister,
    /// Q4: the fence is stated before the source has adopted the epoch.
    FenceBeforeAdopt,
    /// Q6: a rebuild leaves out what is in doubt.
    FillConfirmedOnly,
    /// Q7: the new epoch is not stored.
    EpochForgotten,
    /// Q8: registration and activation are no compare-and-set.
    NoCompareAndSet,
    /// Q9: the source writes and counts confirmations before the epoch is active.
    WriteBeforeActive,
    /// Q10: a blank database makes itself a store in its old epoch.
    BlankStarts,
    /// Q11: an epoch becomes active while a lease of an earlier one is not over.
    ActivateUnderLease,
    /// Q12: the source counts the confirmation of a database that is being filled.
    CountBeforeActive,
    /// X1: a target that crashes forgets its fill, after the operator has counted on it.
    FillForgotten,
    /// X2: a target serves after a signed record that it did not ask for since its start.
    OldRecordServes,
    /// X3: who vouches for an epoch is taken to say that it is active.
    VouchMeansActive,
    /// X4: after a rollback, the tail serves once it has what the head knows confirmed.
    ServeBehindHead,
    /// X5: after a rollback, the head appends before it has compared its log.
    AppendUncompared,
    /// X6: a database that adopts counts as joined, even by an order it did not ask for since its start.
    OldOrderJoins,
    /// X7: the fence leaves out a target that has not learned that it is a member.
    UnlearnedUnfenced,
    /// X8: a database that has not joined tells the fate of an attempt.
    ResolveUnjoined,
    /// X9: the head grants a lease on what is in doubt.
    LeaseInDoubt,
    /// X10: a tail grants leases.
    TailGrants,
    /// X11: a source that has adopted still takes what its peer of the old epoch sends.
    OldPeerServed,
}

impl Defect {
    /// How many there are.
    pub const COUNT: usize = Defect::OldPeerServed as usize + 1;
}
