//! The page of a measurement.

use std::path::Path;

use anyhow::Result;

pub(crate) fn write(_file: &Path, _folder: &Path) -> Result<()> {
    Ok(())
}
