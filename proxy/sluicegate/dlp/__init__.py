"""Finds secrets and personal data in what leaves, without ever keeping them.

    packs/*.yaml -> load -> Rule ...  -> Engine      compiled once, read by all
    Engine.open() -> Scan                            one request: its tally of findings
    Scan.body() -> Body -> Layer -> Text             one body: its codings, its plaintexts
    Text: database (where?) -> confirm (is it one?) -> Sighting -> Tally -> facts.Finding

INVARIANT: matched bytes live in Text's window alone; from `confirm` on there is a keyed fingerprint and a mask.
"""
