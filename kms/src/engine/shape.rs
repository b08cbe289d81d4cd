//! Texts that passed their length checks. What was not checked cannot reach a record.

use crate::error::Error;

/// Longest name, characters.
pub const NAME_MAX_CHARS: usize = 32;
/// Longest context, characters.
pub const CONTEXT_MAX_CHARS: usize = 64;

/// A key's friendly name: 1 to 32 characters. Customer data: never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// `BadArgument` when it is empty or too long.
    pub fn new(name: String) -> Result<KeyName, Error> {
        match name.chars().take(NAME_MAX_CHARS + 1).count() {
            0 => Err(Error::bad("name must not be empty")),
            n if n > NAME_MAX_CHARS => Err(Error::bad("name is longer than 32 characters")),
            _ => Ok(KeyName(name)),
        }
    }

    /// The name.
    pub fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A caller's context: at most 64 characters, authenticated with a ciphertext. Customer data: never logged.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Context(String);

impl Context {
    /// Checks a context.
    ///
    /// # Errors
    /// `BadArgument` when it is too long.
    pub fn new(context: String) -> Result<Context, Error> {
        if context.chars().take(CONTEXT_MAX_CHARS + 1).count() > CONTEXT_MAX_CHARS {
            return Err(Error::bad("context is longer than 64 characters"));
        }
        Ok(Context(context))
    }

    /// As bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
