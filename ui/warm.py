"""What every visitor asks for first is kept at hand: read again as soon as it is old, whether anybody looks or not.

So neither who comes first in the morning nor who comes first after a roll-up waits for a slow question. Filtered views
are not kept so: there are too many of them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from miles import db
from miles.browse import Filters
from miles.errors import MilesError

logger = logging.getLogger(__name__)

EVERY = 20.0  # seconds; below the ttl, at twice which an entry is gone


@asynccontextmanager
async def kept() -> AsyncIterator[None]:
    """From the server's start to its end."""
    keeping = asyncio.create_task(_keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep() -> None:
    while True:
        try:
            await asyncio.to_thread(touch)
        except MilesError as error:  # a database that does not answer, as the pages say themselves
            logger.info("Nothing could be read ahead: %s", error)
        except Exception:
            logger.exception("Reading ahead failed; pages read for themselves")
        await asyncio.sleep(EVERY)


def touch() -> None:
    """Ask what the pages ask before anything is chosen. Raises MilesError."""
    from ui import data, home, scores  # wants Streamlit's runtime, which is not there yet when this module is imported

    db.ready()
    if not data.state().candidates:
        return
    data.options()
    data.standing()
    data.sources()
    data.coverage()
    data.movers(home.MOVERS)
    everything = Filters()
    data.count(everything)
    data.whole_spread(everything)
    data.spreads(everything, "category", least=scores.FEW, most=scores.MOST_GROUPS)
    data.associations(everything, "structure")
    data.associations(everything, "ngram")
    for one in data.model_versions()[:1]:
        data.judged(one.version, scores.usual_basis(one.version), everything, next(iter(scores.TOLD_PARTS)))
