//! Faults of the networks between workers and servers.

use std::time::Duration;

use tenantry_tests::Weather;

use super::Struck;
use crate::{
    dice::Dice,
    scene::{Scene, Setup},
    stand::Link,
};

pub(super) async fn cut(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    change(scene, dice, Weather::Cut, lasts).await
}

pub(super) async fn slow(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let late = dice.millis(5, 60);
    change(scene, dice, Weather::Slow(late), lasts * 2).await
}

/// Connections that nothing arrives on come to life again, or are reset at the end.
pub(super) async fn still(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let link = any_link(scene, dice);
    scene.note(format!("{link:?} is silent"));
    scene.set_weather(link, Weather::Still);
    tokio::time::sleep(lasts * 2).await;
    if dice.percent(50) {
        scene.note(format!("{link:?} is reset"));
        scene.set_weather(link, Weather::Cut);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.set_weather(link, Weather::Fair);
    Ok(())
}

/// Whoever waits for an answer does not know what has been done.
pub(super) async fn lose_answers(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let link = any_link(scene, dice);
    scene.note(format!("{link:?} does not answer any more"));
    scene.set_weather(link, Weather::Deaf);
    tokio::time::sleep(lasts).await;
    scene.set_weather(link, Weather::Cut);
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.set_weather(link, Weather::Fair);
    scene.note(format!("{link:?} answers again, to new connections"));
    Ok(())
}

async fn change(scene: &Scene, dice: &mut Dice, weather: Weather, lasts: Duration) -> Struck {
    let link = any_link(scene, dice);
    scene.note(format!("{link:?}: {weather:?}"));
    scene.set_weather(link, weather);
    tokio::time::sleep(lasts).await;
    scene.set_weather(link, Weather::Fair);
    scene.note(format!("{link:?}: {:?}", Weather::Fair));
    Ok(())
}

fn any_link(scene: &Scene, dice: &mut Dice) -> Link {
    let mut links = vec![Link::Postgres, Link::MariaDb];
    links.extend(scene.setup.link());
    if scene.setup == Setup::PostgresAndRedis {
        links.push(Link::Queue);
    }
    *dice.pick(&links)
}
