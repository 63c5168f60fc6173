//! The options of `train` as arguments, from the library's list of them.

use gpt2_dpo::config::TrainOptions;

use super::values::Value;

macro_rules! arguments {
    (
        paths { $($(#[$path_meta:meta])* $path:ident,)* }
        lists { $($(#[$list_meta:meta])* $list:ident: $item:ty, $value:literal, $delimiter:expr;)* }
        unset { $($(#[$unset_meta:meta])* $unset:ident: $unset_type:ty,)* }
        switches { $($(#[$switch_meta:meta])* $switch:ident,)* }
        values { $($(#[$meta:meta])* $name:ident: $type:ty = $default:expr,)* }
    ) => {
        /// The options of `train`.
        #[derive(clap::Args)]
        pub struct OptionArgs {
            $($(#[$path_meta])* #[arg(long, value_name = "PATH")] $path: Option<std::path::PathBuf>,)*
            $($(#[$list_meta])*
            #[arg(long, value_name = $value, value_delimiter = $delimiter, value_parser = <$item>::parser())]
            $list: Option<Vec<$item>>,)*
            $($(#[$unset_meta])* #[arg(long, value_parser = <$unset_type>::parser())]
            $unset: Option<$unset_type>,)*
            $($(#[$switch_meta])*
            #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
                value_name = "BOOL")]
            $switch: Option<bool>,)*
            $($(#[$meta])* #[arg(long, value_parser = <$type>::parser())] $name: Option<$type>,)*
        }

        impl From<OptionArgs> for TrainOptions {
            fn from(args: OptionArgs) -> TrainOptions {
                TrainOptions {
                    $($path: args.$path,)*
                    $($list: args.$list,)*
                    $($unset: args.$unset,)*
                    $($switch: args.$switch,)*
                    $($name: args.$name,)*
                }
            }
        }
    };
}

gpt2_dpo::train_options!(arguments);
