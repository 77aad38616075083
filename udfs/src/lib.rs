//! Differentially private aggregates, release, masks and pseudonyms for Apache DataFusion.
