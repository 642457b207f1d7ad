//! How a file names its columns: as the import does, or otherwise.

use std::str::FromStr;

use super::record::Record;

/// Columns that any file may have and that are not read: why a row was rejected by the import that wrote the file, and the times of
/// an export.
pub const REJECTION_REASON: &str = "rejectionReason";
const NOT_READ: [&str; 5] = [REJECTION_REASON, "createdAt", "matchedAt", "updatedAt", "endedAt"];

/// Names besides those of the import.
#[derive(Debug, Clone, Default)]
pub struct ColumnNames {
    pub renamed: Vec<Renamed>,
    /// Whether unknown columns are left out instead of being an error.
    pub ignore_unknown: bool,
}

/// `First Name=firstName`: a column of the file, and the import's name of it.
#[derive(Debug, Clone)]
pub struct Renamed {
    theirs: String,
    ours: String,
}

impl FromStr for Renamed {
    type Err = &'static str;

    /// The name in the file may have an equals sign; those of the import have none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim())) {
            Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => {
                Ok(Self { theirs: theirs.into(), ours: ours.into() })
            }
            _ => Err(
                "must be a column of the file, an equals sign and a column of the import, as in \"First Name=firstName\"",
            ),
        }
    }
}

impl ColumnNames {
    /// Checks the names against the columns of the import.
    pub(super) fn check<T: Record>(&self) -> Result<(), String> {
        for Renamed { theirs, ours } in &self.renamed {
            if !T::COLUMNS.contains(&ours.as_str()) {
                let known = T::COLUMNS.join(",");
                return Err(format!("--map: the import has no column {ours:?}: its columns are {known}"));
            }
            if self.renamed.iter().filter(|other| other.theirs == *theirs || other.ours == *ours).count() > 1
            {
                return Err(format!("--map: {theirs}={ours} has a name that another --map has"));
            }
        }
        Ok(())
    }

    /// The import's name of a column. `None`: it is not read.
    pub(super) fn ours<T: Record>(&self, name: &str) -> Result<Option<&'static str>, String> {
        let ours = self.renamed.iter().find(|renamed| renamed.theirs == name);
        let name = ours.map_or(name, |renamed| &renamed.ours);
        match T::COLUMNS.iter().find(|column| **column == name) {
            Some(column) => Ok(Some(column)),
            None if self.ignore_unknown || NOT_READ.contains(&name) => Ok(None),
            None => Err(name.to_owned()),
        }
    }

    /// The names of all columns of the import, as a file names them.
    pub(super) fn theirs<T: Record>(&self) -> Vec<String> {
        let renamed = |ours: &str| self.renamed.iter().find(|renamed| renamed.ours == ours);
        T::COLUMNS
            .iter()
            .map(|ours| renamed(ours).map_or_else(|| (*ours).into(), |renamed| renamed.theirs.clone()))
            .collect()
    }

    /// The columns of a header, in its order.
    pub(super) fn of_header<'a, T: Record>(
        &self,
        header: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Vec<Option<&'static str>>, String> {
        let header = header.map(str::trim);
        if let Some(Renamed { theirs, .. }) =
            self.renamed.iter().find(|renamed| !header.clone().any(|name| name == renamed.theirs))
        {
            return Err(format!("it lacks the column {theirs:?}, which --map names"));
        }
        let mut columns = Vec::new();
        for name in header {
            let column = self.ours::<T>(name).map_err(|unknown| {
                let known = T::COLUMNS.join(",");
                format!("it has an unknown column {unknown:?}: the columns are {known}, separated by commas; --map names others")
            })?;
            if column.is_some() && columns.contains(&column) {
                return Err(format!("it has the column {name} twice"));
            }
            columns.push(column);
        }
        for group in T::REQUIRED {
            if !group.iter().any(|column| columns.contains(&Some(column))) {
                return Err(format!("it lacks the column {}", group.join(" or ")));
            }
        }
        Ok(columns)
    }
}
