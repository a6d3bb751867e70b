//! Places for many things of one type that come and go.

/// Places by number, used again when they are free. It grows by chunks, so that growing moves nothing: a stripe may hold
/// hundreds of thousands of transactions.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Place<T>]>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    /// How often the place was filled: tells a thing from another that was there before.
    generation: u32,
    thing: Option<T>,
}

/// A thing in its place. Once it is gone, its name finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    place: u32,
    generation: u32,
}

const CHUNK: usize = 64;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }

    /// Puts a thing into a free place.
    pub(crate) fn insert(&mut self, thing: T) -> Name {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        let place = self.place(number).expect("a free place exists");
        place.generation = place.generation.wrapping_add(1);
        place.thing = Some(thing);
        Name { place: number, generation: place.generation }
    }

    pub(crate) fn get(&mut self, name: Name) -> Option<&mut T> {
        self.place(name.place).filter(|place| place.generation == name.generation)?.thing.as_mut()
    }

    pub(crate) fn remove(&mut self, name: Name) -> Option<T> {
        let place = self.place(name.place).filter(|place| place.generation == name.generation)?;
        let thing = place.thing.take()?;
        self.free.push(name.place);
        Some(thing)
    }

    fn place(&mut self, number: u32) -> Option<&mut Place<T>> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// Adds a chunk and returns one of its places; the others become free.
    fn grow(&mut self) -> u32 {
        let first = u32::try_from(self.chunks.len() * CHUNK).expect("transactions_max is far below 2^32");
        self.chunks.push((0..CHUNK).map(|_| Place { generation: 0, thing: None }).collect());
        self.free.extend((first + 1..first + CHUNK as u32).rev());
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_thing_until_that_is_gone() {
        let mut slab = Slab::new();
        let names: Vec<Name> = (0..200).map(|n| slab.insert(n)).collect();
        for (n, name) in names.iter().enumerate() {
            assert_eq!(slab.get(*name), Some(&mut n.clone()));
        }
        assert_eq!((slab.remove(names[70]), slab.remove(names[70])), (Some(70), None));
        let again = slab.insert(1_000);
        assert_eq!((again.place, slab.get(again)), (names[70].place, Some(&mut 1_000)));
        assert_eq!(slab.get(names[70]), None);
        assert_eq!(slab.get(names[71]), Some(&mut 71));
        assert_eq!(slab.chunks.len(), 200usize.div_ceil(CHUNK));
    }
}
