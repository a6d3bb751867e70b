//! Numbered places: what is in flight names its owner by a small number.

/// Values under numbers that stay until they are removed. Freed numbers are given out again, the last one first.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<Box<T>>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// The number that the next `insert` will give.
    pub(crate) fn next_number(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let number = self.next_number();
        self.free.pop();
        match self.entries.get_mut(number as usize) {
            Some(entry) => *entry = Some(Box::new(value)),
            None => self.entries.push(Some(Box::new(value))),
        }
        number
    }

    /// Puts a value under a number that it had before; `false` if that is taken. Until [`Slots::reclaim`], no number is
    /// given out.
    pub(crate) fn restore(&mut self, number: u32, value: T) -> bool {
        let at = number as usize;
        if at >= self.entries.len() {
            self.entries.resize_with(at + 1, || None);
        }
        match self.entries.get_mut(at) {
            Some(entry @ None) => {
                *entry = Some(Box::new(value));
                true
            }
            _ => false,
        }
    }

    /// All that had a number before is back: the numbers between are free.
    pub(crate) fn reclaim(&mut self) {
        let numbered = (0..).zip(&self.entries);
        self.free = numbered.filter(|(_, entry)| entry.is_none()).map(|(number, _)| number).collect();
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
        assert_eq!(slots.next_number(), 1);
        assert_eq!([slots.insert('d'), slots.insert('e')], [1, 3]);
        assert_eq!((slots.get(1), slots.get(2), slots.get(9)), (Some(&'d'), Some(&'c'), None));
        assert_eq!(slots.get_mut(2), Some(&mut 'c'));
    }

    #[test]
    fn numbers_from_before_are_kept() {
        let mut slots = Slots::new();
        assert!(slots.restore(3, 'd') && slots.restore(1, 'b'));
        assert!(!slots.restore(3, 'x'), "it is taken");
        slots.reclaim();
        let given: Vec<u32> = ['p', 'q', 'r'].into_iter().map(|value| slots.insert(value)).collect();
        assert_eq!(given, [2, 0, 4]);
        assert_eq!(slots.iter().map(|(_, value)| *value).collect::<String>(), "qbpdr");
    }
}
