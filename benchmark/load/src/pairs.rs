//! Which request comes next. The same arithmetic as `sql/seed.sql`, so no reference has to be read from the database.

pub const ORGANISATIONS: u32 = 100;
pub const CUSTOMERS: u32 = 100_000;
/// Pairs whose ranks add up to a multiple of this are left to the seed (`sql/relations.sql`): a table that was filled before
/// the run and an empty one then see the same inserts.
const SEEDED: u32 = 8;

/// A relation to post. Customers are named by their number, see `sql/seed.sql`.
pub struct Pair {
    /// Of the request; unique in a run, and part of its notice.
    pub number: u64,
    pub organisation: u32,
    pub manager: u32,
    pub customer: u32,
}

/// Random pairs in random organisations of some, in either direction.
pub struct Pairs {
    random: SplitMix64,
    /// The first and the last one.
    organisations: [u32; 2],
    next_number: u64,
    step: u64,
}

impl Pairs {
    /// Those of one connection of many.
    pub fn new(seed: u64, connection: u64, connections: u64, organisations: [u32; 2]) -> Self {
        let random = SplitMix64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (connection << 32));
        Self { random, organisations, next_number: connection, step: connections }
    }

    /// A number below `limit`, from the same source.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.random.below(limit)
    }

    pub fn next_pair(&mut self) -> Pair {
        let number = self.next_number;
        self.next_number += self.step;
        let [first, last] = self.organisations;
        let organisation = first + self.random.below(last + 1 - first);
        loop {
            let ranks = [(); 2].map(|()| self.random.below(CUSTOMERS / ORGANISATIONS));
            if ranks[0] != ranks[1] && !(ranks[0] + ranks[1]).is_multiple_of(SEEDED) {
                let [manager, customer] = ranks.map(|rank| rank * ORGANISATIONS + organisation);
                return Pair { number, organisation, manager, customer };
            }
        }
    }
}

/// 16 digits, scattered over their range like the opaque references that they stand for.
pub fn cu_ref_no(customer: u32) -> u64 {
    1_000_000_000_000_000 + u64::from(customer) * 79_228_162_514_263 % 8_999_999_999_999_989
}

/// Public domain, by Sebastiano Vigna: small, fast and good enough to choose pairs with.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u32
    }
}
