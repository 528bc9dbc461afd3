"""The synchronous clients handle each message in a thread of its own, so in no certain order on a busy machine, attachments
of a binary event before the event itself among them."""


def in_order(client):
    """Lets a synchronous client handle messages one after another, in the thread that reads them."""
    trigger = client.eio._trigger_event

    def triggered(event, *args, **options):
        if event == "message":
            options["run_async"] = False
        return trigger(event, *args, **options)

    client.eio._trigger_event = triggered
    return client
