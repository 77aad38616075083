//! The demo's data folder.
//!
//! In: a folder and a [`Size`]. Out: `company/{person,person_week,email}.parquet` in it. A folder that was begun and not
//! finished has another name, so it is never mistaken for a whole one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use indicatif::ProgressBar;

use super::Error;
use super::activity::{Emails, PersonWeeks, email_schema, person_week_schema};
use super::company::{Company, Size, person_schema};

/// Rows a row group: small enough to be skipped by week, large enough to scan fast.
const ROW_GROUP_ROWS: usize = 131_072;

/// The company's folder under `data_dir`, made where it is missing. `progress` counts rows.
pub fn ensure_company(data_dir: &Path, size: Size, progress: &ProgressBar) -> Result<PathBuf, Error> {
    let whole = data_dir.join("company");
    if whole.is_dir() {
        return Ok(whole);
    }
    let partial = data_dir.join("company.partial");
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&partial)?;
    write_company(&partial, size, progress)?;
    fs::rename(&partial, &whole)?;
    Ok(whole)
}

fn write_company(folder: &Path, size: Size, progress: &ProgressBar) -> Result<(), Error> {
    let company = Company::new(size)?;
    let weeks = size.weeks.unsigned_abs() as usize;
    progress.set_length((size.persons * (1 + weeks) + size.emails) as u64);
    let person = folder.join("person.parquet");
    write(&person, person_schema(), [company.table()], progress)?;
    let person_week = PersonWeeks::new(&company, size)?;
    let file = folder.join("person_week.parquet");
    write(&file, person_week_schema(), person_week, progress)?;
    let emails = Emails::new(&company, size)?;
    let file = folder.join("email.parquet");
    write(&file, email_schema(), emails, progress)?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write(
    path: &Path,
    schema: SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArrowError>>,
    progress: &ProgressBar,
) -> Result<(), Error> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, Some(properties))?;
    for batch in batches {
        let batch = batch?;
        writer.write(&batch)?;
        progress.inc(batch.num_rows() as u64);
    }
    let file = writer.into_inner()?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{ParquetReadOptions, SessionContext};

    const SMALL: Size = Size { persons: 300, weeks: 2, emails: 500 };

    #[test]
    fn a_half_made_folder_is_made_again_and_a_whole_one_reused() {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join("company.partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("person.parquet"), "half").unwrap();
        let company = ensure_company(folder.path(), SMALL, &ProgressBar::hidden()).unwrap();
        assert!(!partial.exists());
        let made = fs::metadata(company.join("email.parquet")).unwrap().modified().unwrap();
        let again = ensure_company(folder.path(), SMALL, &ProgressBar::hidden()).unwrap();
        let kept = fs::metadata(again.join("email.parquet")).unwrap().modified().unwrap();
        assert_eq!(made, kept);
    }

    #[tokio::test]
    async fn the_files_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let company = ensure_company(folder.path(), SMALL, &ProgressBar::hidden()).unwrap();
        let context = SessionContext::new();
        for (table, rows) in [("person", 300), ("person_week", 600), ("email", 500)] {
            let path = company.join(format!("{table}.parquet"));
            let read = context.read_parquet(path.to_str().unwrap(), ParquetReadOptions::default());
            assert_eq!(read.await.unwrap().count().await.unwrap(), rows, "{table}");
        }
    }
}
