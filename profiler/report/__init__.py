"""Answers for people: terminal, pages, timelines."""
