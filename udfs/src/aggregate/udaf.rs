//! One `AggregateUDFImpl` for all aggregates with unreleased results.
//!
//! In: an [`Aggregate`], which names its arguments and reads its bounds. Out: an `AggregateUDF`
//! whose result and state fields carry the unreleased extension type. Must never: accept DISTINCT
//! (its rows would no longer be one a person).

use super::groups::{Contribution, GroupSums, OneSum};
use crate::unreleased::{unreleased_field, unreleased_type};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, TypeSignature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

/// A contribution that has a SQL name and argument types.
pub(super) trait Aggregate: Contribution + Sized {
    const NAME: &'static str;

    fn arguments() -> Vec<DataType>;

    /// Other types that its first argument may have.
    fn or_first() -> Option<DataType> {
        None
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self>;
}

pub(super) fn of<A: Aggregate>() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Unreleased::<A> { signature: signature::<A>(), aggregate: PhantomData }))
}

fn signature<A: Aggregate>() -> Signature {
    let first = TypeSignature::Exact(A::arguments());
    let other = A::or_first().map(|other| {
        let mut arguments = A::arguments();
        arguments[0] = other;
        TypeSignature::Exact(arguments)
    });
    Signature::one_of(std::iter::once(first).chain(other).collect(), Volatility::Immutable)
}

#[derive(Debug)]
struct Unreleased<A> {
    signature: Signature,
    aggregate: PhantomData<A>,
}

impl<A: Aggregate> PartialEq for Unreleased<A> {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl<A: Aggregate> Eq for Unreleased<A> {}

impl<A: Aggregate> Hash for Unreleased<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        A::NAME.hash(state);
    }
}

fn bind<A: Aggregate>(args: &AccumulatorArgs) -> Result<A> {
    if args.is_distinct {
        return plan_err!("{} takes no DISTINCT", A::NAME);
    }
    A::bind(args)
}

impl<A: Aggregate> AggregateUDFImpl for Unreleased<A> {
    fn name(&self) -> &str {
        A::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(unreleased_type(A::WORDS))
    }

    fn return_field(&self, _arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(unreleased_field(A::NAME, A::WORDS)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(unreleased_field(format_state_name(args.name, "words"), A::WORDS))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneSum::new(bind::<A>(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupSums::new(bind::<A>(&args)?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
