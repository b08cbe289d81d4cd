//! Messages about the sealed keys of domains, which lie beside the logs (R23).

/// A keyring object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyringObject {
    /// Sealed domain key; none if the domain is unknown here.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub sealed: Option<Vec<u8>>,
}

/// One step of putting the sealed key of a new domain beside the logs (R23).
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutKeyring {
    /// Domain id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub domain: Vec<u8>,
    /// Sealed domain key.
    #[prost(bytes = "vec", tag = "2")]
    pub sealed: Vec<u8>,
    /// Which step.
    #[prost(enumeration = "KeyringStep", tag = "3")]
    pub step: i32,
    /// Epoch number in which all steps are done: what the envelope says is only where the host stands when it sends this.
    #[prost(uint64, tag = "4")]
    pub epoch_no: u64,
    /// Epoch id.
    #[prost(bytes = "vec", tag = "5")]
    pub epoch_id: Vec<u8>,
}

/// The steps by which a domain comes to be, in their order (R23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum KeyringStep {
    /// Not said (never sent).
    Unspecified = 0,
    /// At the head: it has a key, and gives it to nobody.
    Begin = 1,
    /// At the tail: it has that key.
    Keep = 2,
    /// At the head: the domain is there.
    End = 3,
    /// At the head, in place of `Begin`: the key is the one that a database has already given, so there may be records that it opens.
    Mend = 4,
}
