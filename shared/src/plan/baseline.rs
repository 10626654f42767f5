//! Planning a baseline: which migrations a tenant has already and its history does not know of. Pure.

use super::{Applied, Pending, Progress, Refusal, View, views};
use crate::{bundle::Taken, version::Version};

/// The migrations up to this one, in its chain, that are to be recorded without being run.
///
/// # Errors
/// A [`Refusal`], where the history has rows that are not of these files or no beginning of them.
pub fn baseline<'a>(
    taken: &[Taken<'a>],
    histories: &[Vec<Applied>],
    progress: Option<&Progress>,
    target: &Version,
) -> Result<Vec<Pending<'a>>, Refusal> {
    for view in views(taken, histories, progress) {
        if let Some(last) = view.place(target) {
            return view.unrecorded(last);
        }
    }
    Ok(Vec::new())
}

impl<'a> View<'_, 'a> {
    fn unrecorded(&self, last: usize) -> Result<Vec<Pending<'a>>, Refusal> {
        self.agrees()?;
        if let Some(progress) = self.progress {
            let (version, file) = self.name(&progress.version);
            let mend = self.taken.chain.rules.mend(&version);
            return Err(Refusal::Dirty { version, file, mend });
        }
        let known = |at: &usize| self.applied.contains_key(&self.at(*at).migration.version);
        let mine = (0..self.taken.chain.links.len())
            .filter(|at| self.taken.links[*at] && !self.at(*at).migration.repeatable);
        let (there, not_there): (Vec<usize>, Vec<usize>) = mine.partition(known);
        if let (Some(first), Some(newest)) = (not_there.first(), there.last())
            && first < newest
        {
            let version = self.at(*newest).id.clone();
            return Err(Refusal::Gap { version, file: self.at(*first).migration.file.clone() });
        }
        Ok(not_there.into_iter().filter(|at| *at <= last).map(|at| self.pending(at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::{Bundle, Scope},
        format::File,
        tenant::Labels,
    };

    fn planned(known: &[i64], target: i64) -> Result<Vec<i64>, Refusal> {
        let files = (1..=4).map(|v| File { name: format!("{v}_m.sql"), content: String::new() });
        let bundle = Bundle::new(files.collect()).unwrap();
        let row = |v: &i64| Applied { version: (*v).into(), checksum: None, success: true };
        let taken = bundle.taken_by(Scope::Tenants, &Labels::new());
        let plan = baseline(&taken, &[known.iter().map(row).collect()], None, &target.into())?;
        Ok(plan.iter().map(|p| p.link.migration.version.as_str().parse().unwrap()).collect())
    }

    #[test]
    fn what_a_history_does_not_know_is_recorded_up_to_the_version() {
        assert_eq!(planned(&[], 3).unwrap(), [1, 2, 3]);
        assert_eq!(planned(&[1], 3).unwrap(), [2, 3]);
        assert!(planned(&[1, 2, 3, 4], 3).unwrap().is_empty());
    }

    #[test]
    fn a_history_that_is_no_beginning_is_refused() {
        assert_eq!(planned(&[2], 3), Err(Refusal::Gap { version: 2.into(), file: "1_m.sql".into() }));
        assert_eq!(planned(&[1, 4], 2).unwrap_err().code(), "history");
        assert_eq!(planned(&[1, 9], 2).unwrap_err().code(), "missing");
    }
}
