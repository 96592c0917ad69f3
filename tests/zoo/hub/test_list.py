import zoo
from zoo.hub import list_remote, push

REPO = "lab/model"


def test_list_shows_what_the_cards_say(hub, saved):
    push(saved, REPO, endpoint=hub.url)
    push(saved, "other/model", endpoint=hub.url)
    hub.create("lab/unrelated")
    (found,) = list_remote("lab", endpoint=hub.url)
    count = sum(p.numel() for p in zoo.load(saved).parameters())
    assert (found.name, found.arch, found.embed_dim, found.parameters) == (
        REPO,
        "resnet10",
        8,
        count,
    )
    assert (found.data, found.knn) == ("made up", 0.625)
