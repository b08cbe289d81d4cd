//! Nothing opens but what was sealed, where it was sealed, as it was sealed.
