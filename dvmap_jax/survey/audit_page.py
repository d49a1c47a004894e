"""The audit as a page: what `audit.json` says, in words and pictures."""

from collections.abc import Mapping

from dvmap_jax.survey.page import Bar, bar_chart, heat_map, page, section, table

MAX_COLUMNS = 40  # questions a heat map shows, the least agreed on first


def audit_page(corpus: dict, audit: dict, compared: dict | None = None) -> str:
    """The HTML text of `audit.html`, from what the corpus's JSON files say."""
    rule = corpus["settings"]["rule"]["rule"]
    parts = [
        _summary(corpus, audit),
        _support(audit),
        _consensus(audit),
        _twins(audit),
        _attributes(audit),
        _rules(audit, rule),
        _splits(corpus),
        _missing(audit),
    ]
    if compared:
        parts.insert(1, _compared(compared))
    if "planted" in audit:
        parts.append(_planted(audit["planted"]))
    return page(f"Audit of a corpus built by the {rule} rule", parts)


def _summary(corpus: dict, audit: dict) -> str:
    archetypes, number = audit["archetypes"], corpus["num_examples"]["examples"]
    without = audit["respondents"]["without"].items()
    lacking = "; ".join(f"{count:,} without {name}" for name, count in without)
    return (
        f"<p>{corpus['num_respondents']:,} respondents ({lacking or 'none dropped'}) in "
        f"{archetypes['number']:,} archetypes gave {number:,} examples. "
        f"{_share(archetypes['singleton_share'])} of the archetypes are one respondent: their "
        "labels are one person's answers and say nothing about agreement.</p>"
    )


def _support(audit: dict) -> str:
    cells = audit["cells"]
    return section(
        "How many people stand behind a label",
        "A cell is an archetype and a question it answered; its support is the number of its "
        "respondents who answered. Entropy is 0 where all of them agree and 1 where every option "
        "is chosen equally often; only cells of two or more can disagree.",
        _counts("Archetypes by number of respondents", audit["archetypes"]["by_respondents"]),
        _counts("Cells by support", cells["by_support"]),
        _counts("Cells of two or more by entropy", cells["entropy_of_two_or_more"]),
    )


def _consensus(audit: dict) -> str:
    found = audit["consensus"]
    by_question = {
        name: _mean(by_country.values()) for name, by_country in found.items() if by_country
    }
    countries = sorted({name for by_country in found.values() for name in by_country})
    by_country = {
        name: _mean([cells[name] for cells in found.values() if name in cells])
        for name in countries
    }
    shown = sorted(sorted(by_question, key=by_question.get)[:MAX_COLUMNS], key=list(found).index)
    rows = {
        name: [found[q].get(name, {}).get("consensus_share") for q in shown] for name in countries
    }
    more = f", the {MAX_COLUMNS} least agreed on" if len(by_question) > MAX_COLUMNS else ""
    return section(
        "Consensus by country and question",
        "The mean share of the most chosen option in cells of two or more respondents. With two "
        "respondents it is at least a half whatever they say.",
        _shares("By country", by_country),
        heat_map(f"By country and question{more}", shown, rows, low=0.4),
    )


def _twins(audit: dict) -> str:
    rows = audit["twins"]
    named = (
        ("twin_agreement", "another respondent of the archetype"),
        ("others_mode", "the mode of the archetype's others"),
        ("country_mode", "the mode of the country's others"),
    )
    charts = [
        bar_chart(
            f"Archetypes of {row['archetype_size']} respondents, {row['responses']:,} answers"
            if row["archetype_size"] != "all"
            else f"All archetypes of two or more, {row['responses']:,} answers",
            [_ratio_bar(said, row[key]) for key, said in named if row[key]["value"] is not None],
        )
        for row in rows
        if row["responses"]
    ]
    return section(
        "The human-twin ceiling",
        "How often an answer is predicted by somebody else of the same archetype: what "
        "demographics alone can say, and a ceiling for a model's accuracy on one person's answer. "
        "Intervals are for archetypes drawn at random.",
        *charts,
    )


def _attributes(audit: dict) -> str:
    found = audit["attributes"]
    alone = found["country_alone"]
    bars = [
        Bar(name, max(gain["value"], 0), _ratio_text(gain, points=True), _interval(gain))
        for name, gain in found["added"].items()
        if gain["value"] is not None
    ]
    return section(
        "What each attribute adds",
        f"The mode of the others of one's country predicts {_ratio_text(alone)} of the answers. "
        "Bars show what is gained, in percentage points, where the others must also share the "
        "attribute; below zero where small groups predict worse than the country.",
        bar_chart("Gain over the country alone", bars),
    )


def _rules(audit: dict, rule: str) -> str:
    rules = audit["rules"]
    counts = {
        "kept by the released rule": rules["released"],
        "kept by the consensus rule": rules["consensus"],
        "too little support for consensus": rules["too_little_support"],
        "too much entropy for consensus": rules["too_much_entropy"],
    }
    return section(
        "What the two rules keep of each other",
        f"This corpus was built by the {rule} rule. With at least {rules['min_support']} "
        f"respondents and an entropy of at most {rules['max_entropy']}, the consensus rule keeps "
        f"{_share(rules['consensus_of_released'])} of the released cells, and no other; "
        f"{rules['other_answer']:,} of those it keeps get another answer, because it recodes "
        f"before it takes the mode. {rules['nobody_answered']:,} cells have no answer at all.",
        _counts("Cells, and their share of the released ones", counts, whole=rules["released"]),
    )


def _splits(corpus: dict) -> str:
    rows = [
        (name.replace("_", " "), *(_cell(value) for value in row.values()))
        for name, row in corpus["leaks"].items()
    ]
    columns = ["split", *(key.replace("_", " ") for key in next(iter(corpus["leaks"].values())))]
    combined = corpus["combinations"]
    return section(
        "Splits",
        "A split is clean where it shares with training no cell and nothing of what it holds out: "
        "archetypes, countries or questions. Archetypes one attribute apart from one of training "
        "are near-duplicates and make a split easier than it looks.",
        table("Held-out archetypes against training", columns, rows),
        table(
            "Examples by archetypes and questions",
            ["", *next(iter(combined.values()))],
            [
                (name.replace("_", " "), *(_cell(count) for count in row.values()))
                for name, row in combined.items()
            ],
        ),
    )


def _missing(audit: dict) -> str:
    found = audit["respondents"]["missing_answers"]
    total: dict[str, int] = {}
    for kinds in found.values():
        for kind, count in kinds.items():
            total[kind] = total.get(kind, 0) + count
    return section(
        "Answers that are missing",
        "Over all questions, by what the file says instead of an answer.",
        _counts("Missing answers", total),
    )


def _compared(found: dict) -> str:
    cells, number = found["cells"], len(found["moved"])
    rows = {row["country"]: {} for row in found["country_questions"]}
    for row in found["country_questions"]:
        rows[row["country"]][row["question"]] = abs(row["shift"]["change"]["value"])
    questions = [row["question"] for row in found["questions"]][:MAX_COLUMNS]
    return section(
        "What changed since the older build",
        f"{cells['both']:,} cells are in both, {cells['other_answer']:,} with another answer. Of "
        f"{cells['tested']:,} with at least {found['min_support']} respondents in both, {number:,} "
        "moved by more than their 95 % interval; one in twenty would by chance.",
        bar_chart(
            "Answers that changed, by question",
            [_ratio_bar(row["question"], row["other_answer"]) for row in found["questions"]],
        ),
        bar_chart(
            "Answers that changed, by country",
            [_ratio_bar(row["country"], row["other_answer"]) for row in found["countries"]],
        ),
        heat_map(
            "Largest change of an option's share, by country and question",
            questions,
            {name: [own.get(q) for q in questions] for name, own in rows.items()},
            high=0.2,
        ),
    )


def _planted(found: dict) -> str:
    return section(
        "Recovered consensus",
        f"The survey is invented. Of {found['cells']:,} cells of at least {found['min_support']} "
        f"respondents that were planted with at most {_share(found['noise'])} of dissent, the "
        f"consensus rule kept {_share(found['recovered_share'])} with the planted answer.",
    )


def _counts(caption: str, counts: Mapping[str, int], *, whole: int = 0) -> str:
    whole = whole or sum(counts.values()) or 1
    bars = [Bar(name, n, f"{n:,} ({_share(n / whole)})") for name, n in counts.items()]
    return bar_chart(caption, bars)


def _shares(caption: str, shares: Mapping[str, float]) -> str:
    return bar_chart(caption, [Bar(name, x, _share(x)) for name, x in shares.items()])


def _ratio_bar(name: str, ratio: dict) -> Bar:
    return Bar(name, ratio["value"], _ratio_text(ratio), _interval(ratio))


def _ratio_text(ratio: dict, *, points: bool = False) -> str:
    if ratio["value"] is None:
        return "nothing"
    sign = "+" if points else ""
    value, low, high = (format(100 * ratio[key], f"{sign}.1f") for key in ("value", "low", "high"))
    return f"{value}{'' if points else ' %'} ({low} to {high})"


def _interval(ratio: dict) -> tuple[float, float]:
    return ratio["low"], ratio["high"]


def _mean(cells) -> float:
    """Mean consensus share, each cell counting once."""
    cells = list(cells)
    whole = sum(cell["cells"] for cell in cells)
    return sum(cell["cells"] * cell["consensus_share"] for cell in cells) / whole


def _cell(value: int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
