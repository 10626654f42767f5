//! Formats in which every migration is a directory of its own.

use std::collections::BTreeMap;

use super::File;

/// A file that lies in a migration's directory: the directory's name and its own.
pub(super) fn place(file: &str) -> Option<(&str, &str)> {
    file.split_once('/').filter(|(folder, name)| !folder.starts_with('.') && !name.contains('/'))
}

/// One migration's directory.
pub(super) struct Folder<'a> {
    /// Its name.
    pub(super) name: &'a str,
    files: Vec<(&'a str, &'a File)>,
}

impl<'a> Folder<'a> {
    /// Its file of this name.
    pub(super) fn file(&self, name: &str) -> Option<&'a File> {
        self.files.iter().find(|(own, _)| *own == name).map(|(_, file)| *file)
    }
}

/// The directories, in the order of their names.
pub(super) fn folders(files: &[File]) -> Vec<Folder<'_>> {
    let mut folders: BTreeMap<&str, Vec<(&str, &File)>> = BTreeMap::new();
    for file in files {
        if let Some((folder, name)) = file.name.split_once('/').filter(|(folder, _)| !folder.starts_with('.'))
        {
            folders.entry(folder).or_default().push((name, file));
        }
    }
    folders.into_iter().map(|(name, files)| Folder { name, files }).collect()
}
