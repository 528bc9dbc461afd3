"""A model that only the browser can reach: the backend requests a completion, and the browser streams it up."""

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenario import Scenario

CHUNKS = ["one ", "two ", "three é中", " four", " five"]


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


async def run(story: "Scenario") -> None:
    alice = story.browsers["alice"]
    user, two = story.users["alice"], story.backends[1]
    streams: set[asyncio.Task[None]] = set()

    async def stream(channel: str) -> None:
        for text in CHUNKS:
            await alice.emit(channel, chunk(text))
        await alice.emit(channel, {"done": True})

    def acknowledge(request: Any) -> Any:
        if request.get("data", {}).get("type") != "request:chat:completion":
            return None
        streams.add(asyncio.create_task(stream(request["data"]["data"]["channel"])))
        return {"status": True}

    alice.ack = acknowledge
    ids = [str(uuid.uuid4()) for _ in range(2)]
    message = {"id": ids[0], "role": "user", "content": "hi", "parentId": None, "childrenIds": [], "models": ["near"]}
    body = {
        "stream": True,
        "model": "near",
        "model_item": {"id": "near", "name": "near", "direct": True, "owned_by": "openai", "openai": {"id": "near"}, "urlIdx": 0},
        "messages": [{"role": "user", "content": "hi"}],
        "chat_id": story.chat,
        "id": ids[1],
        "parent_id": None,
        "user_message": message,
        "session_id": alice.sid,
        "background_tasks": {},
    }
    await user.post(two, "/api/chat/completions", body)
    await story.step("a model of the browser completes")
    chat = await user.get(two, f"/api/v1/chats/{story.chat}")
    content = chat["chat"]["history"]["messages"].get(ids[1], {}).get("content")
    await story.step("the completion is stored", content=content)
    alice.ack = {"answer": "yes from client"}
