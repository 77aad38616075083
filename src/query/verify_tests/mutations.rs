//! Good plans, spoiled at random.
