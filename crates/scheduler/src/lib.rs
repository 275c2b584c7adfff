//! Which node a pod runs on: queue, snapshot, framework, plugins.
