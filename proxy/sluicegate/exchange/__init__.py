"""The conversation that all lanes drive: head, body, end, and back. Sans-io; no lane decides anything itself."""

from sluicegate.exchange.exchange import Exchange
from sluicegate.exchange.gate import Dial, DialRefused, Gate
from sluicegate.exchange.heads import Connection, RequestHead, ResponseHead

__all__ = ["Connection", "Dial", "DialRefused", "Exchange", "Gate", "RequestHead", "ResponseHead"]
