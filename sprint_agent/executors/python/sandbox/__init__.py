"""The process around a program: restricts it, waits for it and ends it.

This package runs in a separate process, on the standard library alone. PythonExecutor starts
`start.main` there without the rest of `sprint_agent`. docs/sandbox.md says what each layer keeps
away.
"""
