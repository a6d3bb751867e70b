//! Numbered places: what is in flight names its owner by a small number.

/// Values under numbers that stay until they are removed. Freed numbers are given out again, the last one first; a generation
/// tells apart what was under a number one after another.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<Box<T>>>,
    generations: Vec<u8>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), generations: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let next = || u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let number = self.free.pop().unwrap_or_else(next);
        match self.entries.get_mut(number as usize) {
            Some(entry) => *entry = Some(Box::new(value)),
            None => {
                self.entries.push(Some(Box::new(value)));
                self.generations.push(0);
            }
        }
        number
    }

    /// The generation of what is under a number. It is another after [`Slots::renew`], and under a number that was freed.
    pub(crate) fn generation(&self, number: u32) -> u8 {
        self.generations.get(number as usize).copied().unwrap_or(0)
    }

    /// From now on, what is under a number is of another generation.
    pub(crate) fn renew(&mut self, number: u32) {
        if let Some(generation) = self.generations.get_mut(number as usize) {
            *generation = generation.wrapping_add(1);
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.entries.get(number as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.entries.get_mut(number as usize)?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = (0..).zip(&self.entries);
        numbered.filter_map(|(number, entry)| entry.as_deref().map(|value| (number, value)))
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Box<T>> {
        let value = self.entries.get_mut(number as usize)?.take()?;
        self.renew(number);
        self.free.push(number);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_come_back() {
        let mut slots = Slots::new();
        assert_eq!([slots.insert('a'), slots.insert('b'), slots.insert('c')], [0, 1, 2]);
        assert_eq!(slots.remove(1).map(|b| *b), Some('b'));
        assert_eq!((slots.remove(1), slots.get(1)), (None, None));
        assert_eq!([slots.insert('d'), slots.insert('e')], [1, 3]);
        assert_eq!((slots.get(1), slots.get(2), slots.get(9)), (Some(&'d'), Some(&'c'), None));
        assert_eq!(slots.get_mut(2), Some(&mut 'c'));
    }

    // What is in flight for one value concerns none that comes under its number soon after.
    #[test]
    fn no_generation_comes_twice_in_a_row() {
        let mut slots = Slots::new();
        let mut seen = Vec::new();
        for _ in 0..20 {
            let number = slots.insert(());
            for _ in 0..3 {
                seen.push(slots.generation(number));
                slots.renew(number);
            }
            slots.remove(number);
        }
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }
}
