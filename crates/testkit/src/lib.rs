//! Clusters and images for tests.
