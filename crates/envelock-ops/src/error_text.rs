//! The text of an error where it becomes a line of a file or a reason, and its sources would be lost.

use std::error::Error;

/// Returns the text of an error and of its sources.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += ": ";
        text += &error.to_string();
        source = error.source();
    }
    text
}
