//! What holds however state is kept: the same tests with it in the memory of one node, in its journal, in a mesh of nodes, in
//! a Redis and in a cluster of them.

mod scenarios;
mod world;

/// Makes a test of each scenario, for one way to keep state.
macro_rules! battery {
    ($module:ident, $keeping:ident, [$($scenario:ident),+ $(,)?]) => {
        mod $module {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                crate::scenarios::$scenario(&mut crate::world::World::start(crate::world::Keeping::$keeping)?)
            })+
        }
    };
}

macro_rules! with_losses {
    ($module:ident, $keeping:ident) => {
        battery!(
            $module,
            $keeping,
            [
                who_registers_is_reached,
                a_publication_is_one,
                a_subscription_moves_with_its_refresh,
                what_ends_by_itself_is_told_once,
                what_was_acknowledged_survives_a_loss,
                what_was_removed_does_not_come_back,
            ]
        );
    };
}

// Nothing outlives that.
battery!(
    memory,
    Memory,
    [
        who_registers_is_reached,
        a_publication_is_one,
        a_subscription_moves_with_its_refresh,
        what_ends_by_itself_is_told_once,
    ]
);
with_losses!(journal, Journal);
with_losses!(mesh, Mesh);
with_losses!(redis, Redis);
with_losses!(redis_cluster, RedisCluster);
